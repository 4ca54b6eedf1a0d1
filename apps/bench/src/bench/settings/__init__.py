"""Schemas and presets of settings."""
