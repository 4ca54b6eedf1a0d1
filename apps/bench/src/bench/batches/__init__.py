"""Labeled batches of a few fixed shapes."""
