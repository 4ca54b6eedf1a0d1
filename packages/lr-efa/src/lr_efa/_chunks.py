"""Arrays of waves split into chunks of equal size."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def split_into_chunks(waves: PyTree, num_chunks: int) -> PyTree:
    """Splits the leading axis of every array; the last chunk is padded with zeros."""
    return jax.tree.map(lambda leaf: _split(leaf, num_chunks), waves)


def _split(leaf: Float[Array, "waves ..."], num_chunks: int) -> Float[Array, "..."]:
    size = -(-len(leaf) // num_chunks)
    padding = [(0, num_chunks * size - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)
    return jnp.pad(leaf, padding).reshape(num_chunks, size, *leaf.shape[1:])
