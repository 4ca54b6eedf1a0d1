"""Evaluation in tiles of a few rows, which reduces memory traffic on CPUs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def in_tiles(
    function: Callable[..., Array],
    shared: Any,
    arrays: tuple[Any, ...],
    tile: int,
) -> Array:
    """Returns `function(shared, *arrays)`, on a CPU computed for `tile` rows at a time.

    The intermediate values of `function` may be many times as large as its arguments.
    In tiles they stay in the caches of a CPU, and gradients recompute them; an
    accelerator computes all rows at once.

    Args:
        function: maps rows to rows, each independent of the others.
        shared: argument that all rows need.
        arrays: trees whose arrays have the rows as leading axis.
        tile: number of rows per tile.
    """
    return jax.lax.platform_dependent(
        shared, arrays, cpu=_tiled(function, tile), default=_untiled(function)
    )


def _untiled(function: Callable[..., Array]) -> Callable[[Any, Any], Array]:
    return lambda shared, arrays: function(shared, *arrays)


def _tiled(function: Callable[..., Array], tile: int) -> Callable[[Any, Any], Array]:
    def tiled(shared, arrays):
        rows = len(jax.tree.leaves(arrays)[0])
        count = -(-rows // tile)
        if count <= 1:
            return function(shared, *arrays)
        # Tiles of equal size need less padding.
        size = -(-rows // count)
        # Applied twice: the second derivative differentiates the recomputation of the
        # outer checkpoint, and would save its intermediate values for all rows.
        rematerialized = jax.checkpoint(jax.checkpoint(function))
        tiles = jax.tree.map(lambda x: _split(x, count, size), arrays)
        out = jax.lax.map(lambda arrays: rematerialized(shared, *arrays), tiles)
        return out.reshape(-1, *out.shape[2:])[:rows]

    return tiled


def _split(rows: Array, count: int, tile: int) -> Array:
    """Returns the rows in tiles, the last padded with zeros."""
    padding = [(0, count * tile - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, padding).reshape(count, tile, *rows.shape[1:])
