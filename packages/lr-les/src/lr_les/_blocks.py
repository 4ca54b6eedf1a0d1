"""Arrays split into blocks of rows, for sums that are computed block by block."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def split_into_blocks(rows: PyTree[Array], block_size: int) -> PyTree[Array]:
    """Reshapes `[rows, ...]` to `[blocks, block_size, ...]`, padded with zeros."""

    def split(array: Array) -> Array:
        blocks = -(-array.shape[0] // block_size)
        missing = blocks * block_size - array.shape[0]
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(blocks, block_size, *array.shape[1:])

    return jax.tree.map(split, rows)
