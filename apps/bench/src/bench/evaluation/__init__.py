"""Predictions, their errors with confidence intervals, and evaluation of models."""
