"""Rows taken in blocks, one block after the other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def in_blocks(rows: PyTree[Array], size: int) -> PyTree[Array]:
    """Every array `[rows, ...]` as `[blocks, size, ...]`, with zeros after the end."""

    def split(array: Array) -> Array:
        blocks = -(-array.shape[0] // size)
        missing = blocks * size - array.shape[0]
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(blocks, size, *array.shape[1:])

    return jax.tree.map(split, rows)
