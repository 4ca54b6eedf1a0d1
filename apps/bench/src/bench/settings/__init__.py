"""Schemas of settings; the presets are checked against them."""
