"""A grid of runs: its splits, jobs and loggers."""
