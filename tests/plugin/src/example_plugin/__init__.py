"""What another package can add: see the entry points in `pyproject.toml`."""
