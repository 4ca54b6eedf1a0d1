"""Simulations of many structures with many models, and their results."""
