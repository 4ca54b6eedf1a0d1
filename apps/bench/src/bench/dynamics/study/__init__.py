"""Simulations of many structures by many models, and their results."""
