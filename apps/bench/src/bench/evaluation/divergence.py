"""Which structures a loss that is not finite comes from."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import Potential

from bench.batches.loading import BatchedDataset
from bench.evaluation.errors import predict

_NAMED = 3
"""Structures that a message names."""


class DivergedStep(NamedTuple):
    """The first step of an epoch after which loss or weights are not finite.

    Args:
        step: its number, from 0.
        potential: with the weights before it.
    """

    step: int
    potential: Potential


def find_diverged_step(
    state: Any, inputs: Iterable[Any], advance: Callable[[Any, Any], tuple[Any, Any]]
) -> DivergedStep | None:
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
            return DivergedStep(number, before)
    return None


def _is_finite(potential: Potential) -> bool:
    weights = jax.tree.leaves(eqx.filter(potential, eqx.is_inexact_array))
    return all(bool(jnp.isfinite(x).all()) for x in weights)


def non_finite_samples(
    potential: Potential, batched: BatchedDataset, members: np.ndarray
) -> np.ndarray:
    """Samples for which something that is predicted is not finite.

    Args:
        potential: predicts.
        batched: packed data.
        members: indices of samples.
    """
    predictions = predict(potential, batched, members)
    return np.array(
        [m for m, p in zip(members, predictions, strict=True) if not p.is_finite], int
    )


def divergence_cause(
    broken: DivergedStep, first: Potential, batched: BatchedDataset, members: np.ndarray
) -> str:
    """Why a step broke, and what to do.

    Args:
        broken: the step.
        first: the potential that training began with.
        batched: packed data.
        members: indices of the step's samples.
    """
    lost = non_finite_samples(broken.potential, batched, members)
    if not len(lost):
        return (
            "the gradient of the loss is not finite for one of "
            f"{format_ids(batched, members)}, whose predictions are: lower "
            "train.learning_rate, and check their labels"
        )
    always = non_finite_samples(first, batched, lost)
    if len(always):
        return (
            f"the prediction for {format_ids(batched, always)} is not finite, and was "
            "not with the initial weights: look for overlapping atoms or a wrong cell "
            "there, and leave these structures out"
        )
    return (
        f"the prediction for {format_ids(batched, lost)} has become non-finite: lower "
        "train.learning_rate, or check these structures"
    )


def format_ids(batched: BatchedDataset, members: np.ndarray) -> str:
    """The first few of some samples by id.

    Args:
        batched: packed data.
        members: indices of samples.
    """
    ids = ", ".join(repr(batched.data.ids[int(m)]) for m in members[:_NAMED])
    more = len(members) - _NAMED
    return ids + (f" and {more} more" if more > 0 else "")
