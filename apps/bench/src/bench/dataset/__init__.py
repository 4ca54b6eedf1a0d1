"""Data sets as columns: prepare, store, open, describe."""
