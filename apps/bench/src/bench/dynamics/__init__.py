"""Molecular dynamics with a potential: how long it holds, and how it fails."""
