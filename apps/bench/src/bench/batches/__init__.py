"""Labeled batches of few shapes."""
