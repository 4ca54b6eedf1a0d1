"""Datasets as columns: preparation, storage, opening and summaries."""
