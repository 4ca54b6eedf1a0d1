"""Molecular dynamics in jax-md: blocks of steps, ensembles, neighbor lists, plans."""
