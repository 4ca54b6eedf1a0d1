"""Waves in chunks of equal size."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def in_chunks(waves: PyTree, chunks: int) -> PyTree:
    """Every array's leading axis split, filled up with waves of zero weight."""
    return jax.tree.map(lambda leaf: _split(leaf, chunks), waves)


def _split(leaf: Float[Array, "waves ..."], chunks: int) -> Float[Array, "..."]:
    size = -(-len(leaf) // chunks)
    padding = [(0, chunks * size - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)
    return jnp.pad(leaf, padding).reshape(chunks, size, *leaf.shape[1:])
