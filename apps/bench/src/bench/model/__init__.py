"""The potential of a run."""
