"""Checks of a potential before, and of the stability during, a simulation."""
