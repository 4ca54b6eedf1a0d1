"""Stability of molecular dynamics with trained potentials."""
