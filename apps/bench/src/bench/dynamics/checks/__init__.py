"""Reasons to stop a simulation, checks before it starts, energy drift."""
