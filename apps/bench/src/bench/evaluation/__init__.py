"""Predictions, their errors with intervals, and evaluation of trained models."""
