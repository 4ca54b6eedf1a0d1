"""Which structures a loss that is not finite comes from."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import Potential

from bench.batches.loading import Shelf
from bench.evaluation.errors import predict

_NAMED = 3
"""Structures that a message names."""


class Broken(NamedTuple):
    """The first step of an epoch after which loss or weights are not finite.

    Args:
        step: its number, from 0.
        potential: with the weights before it.
    """

    step: int
    potential: Potential


def first_broken(
    state: Any, inputs: Iterable[Any], advance: Callable[[Any, Any], tuple[Any, Any]]
) -> Broken | None:
    """Goes through an epoch again until it breaks; None if it does not.

    Args:
        state: at the beginning of the epoch, with a `potential`.
        inputs: of each step.
        advance: makes a step of a state and inputs; gives the new state and the loss.
    """
    for number, one in enumerate(inputs):
        # A step consumes its state.
        before = jax.tree.map(
            lambda x: x.copy() if eqx.is_array(x) else x, state.potential
        )
        state, value = advance(state, one)
        if not (np.isfinite(value) and _is_finite(state.potential)):
            return Broken(number, before)
    return None


def _is_finite(potential: Potential) -> bool:
    weights = jax.tree.leaves(eqx.filter(potential, eqx.is_inexact_array))
    return all(bool(jnp.isfinite(x).all()) for x in weights)


def not_finite(potential: Potential, shelf: Shelf, members: np.ndarray) -> np.ndarray:
    """Samples for which something that is predicted is not finite.

    Args:
        potential: predicts.
        shelf: packed data.
        members: indices of samples.
    """
    predictions = predict(potential, shelf, members)
    return np.array(
        [m for m, p in zip(members, predictions, strict=True) if not p.is_finite], int
    )


def cause_of(
    broken: Broken, first: Potential, shelf: Shelf, members: np.ndarray
) -> str:
    """Why a step broke, and what to do.

    Args:
        broken: the step.
        first: the potential that training began with.
        shelf: packed data.
        members: indices of the step's samples.
    """
    lost = not_finite(broken.potential, shelf, members)
    if not len(lost):
        return (
            f"the slope of the loss is not finite for one of {named(shelf, members)}, "
            "whose predictions are: lower train.learning_rate, and look at their labels"
        )
    always = not_finite(first, shelf, lost)
    if len(always):
        return (
            f"the prediction for {named(shelf, always)} is not finite, nor was it with "
            "the weights that training began with: look for atoms on top of each other "
            "or a wrong cell there, and leave these structures out"
        )
    return (
        f"the prediction for {named(shelf, lost)} is not finite any more: lower "
        "train.learning_rate, or look for what is unusual there"
    )


def named(shelf: Shelf, members: np.ndarray) -> str:
    """The first few of some samples by id.

    Args:
        shelf: packed data.
        members: indices of samples.
    """
    ids = ", ".join(repr(shelf.data.ids[int(m)]) for m in members[:_NAMED])
    more = len(members) - _NAMED
    return ids + (f" and {more} more" if more > 0 else "")
