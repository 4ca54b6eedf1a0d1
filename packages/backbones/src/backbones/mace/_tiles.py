"""Work on few rows at a time, so that what it makes stays in a processor's caches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def in_tiles(
    form: Callable[..., Array],
    shared: Any,
    arrays: tuple[Any, ...],
    few: int,
) -> Array:
    """`form(shared, *arrays)`, on a processor for `few` rows at a time.

    What `form` makes on its way to a result may be many times as large as its
    arguments. On a processor it stays in the caches, and slopes form it again; an
    accelerator gets all rows at once.

    Args:
        form: makes rows from rows, each from its own alone.
        shared: what all rows need.
        arrays: trees whose arrays have the rows first.
        few: rows at a time.
    """
    return jax.lax.platform_dependent(
        shared, arrays, cpu=_few_at_a_time(form, few), default=_at_once(form)
    )


def _at_once(form: Callable[..., Array]) -> Callable[[Any, Any], Array]:
    return lambda shared, arrays: form(shared, *arrays)


def _few_at_a_time(form: Callable[..., Array], few: int) -> Callable[[Any, Any], Array]:
    def turn_by_turn(shared, arrays):
        rows = len(jax.tree.leaves(arrays)[0])
        turns = -(-rows // few)
        if turns <= 1:
            return form(shared, *arrays)
        # Twice: slopes of slopes differentiate what the outer one leaves of the first
        # pass, and would keep all that lies between.
        forgetful = jax.checkpoint(jax.checkpoint(form))
        tiles = jax.tree.map(lambda x: _tiles(x, turns, few), arrays)
        out = jax.lax.map(lambda tile: forgetful(shared, *tile), tiles)
        return out.reshape(-1, *out.shape[2:])[:rows]

    return turn_by_turn


def _tiles(rows: Array, turns: int, few: int) -> Array:
    """The rows in tiles, the last filled up with zeros."""
    missing = [(0, turns * few - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, missing).reshape(turns, few, *rows.shape[1:])
