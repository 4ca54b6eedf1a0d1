"""Diagnosis of a loss that is not finite."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import Potential

from bench.batches.loading import BatchedDataset
from bench.evaluation.predicting import predict_samples

_NAMED = 3
"""Largest number of ids in a message."""


class DivergedStep(NamedTuple):
    """The first step of an epoch after which the loss or a weight is not finite.

    Args:
        step: index of the step in the epoch.
        potential: with the weights before the step.
    """

    step: int
    potential: Potential


def find_diverged_step(
    state: Any, inputs: Iterable[Any], step: Callable[[Any, Any], tuple[Any, Any]]
) -> DivergedStep | None:
    """Repeats an epoch and returns its first diverged step, or None.

    Args:
        state: training state at the beginning of the epoch.
        inputs: of each step.
        step: function of a state and inputs that returns the new state and the loss.
    """
    for index, step_inputs in enumerate(inputs):
        # A copy, because the step donates the buffers of its state.
        before = jax.tree.map(
            lambda x: x.copy() if eqx.is_array(x) else x, state.potential
        )
        state, loss = step(state, step_inputs)
        if not (np.isfinite(loss) and _is_finite(state.potential)):
            return DivergedStep(index, before)
    return None


def _is_finite(potential: Potential) -> bool:
    weights = jax.tree.leaves(eqx.filter(potential, eqx.is_inexact_array))
    return all(bool(jnp.isfinite(x).all()) for x in weights)


def non_finite_samples(
    potential: Potential, batched: BatchedDataset, members: np.ndarray
) -> np.ndarray:
    """Returns the indices of samples whose prediction is not finite.

    Args:
        potential: to evaluate.
        batched: dataset.
        members: indices of samples.
    """
    predictions = predict_samples(potential, batched, members)
    return np.array(
        [m for m, p in zip(members, predictions, strict=True) if not p.is_finite], int
    )


def divergence_cause(
    diverged: DivergedStep,
    initial: Potential,
    batched: BatchedDataset,
    members: np.ndarray,
) -> str:
    """Returns why a step diverged and what to do, the end of an error message.

    Args:
        diverged: the step.
        initial: the potential with its initial weights.
        batched: dataset with labels.
        members: indices of the samples of the step.
    """
    samples = non_finite_samples(diverged.potential, batched, members)
    if not len(samples):
        return (
            "the gradient of the loss is not finite for one of "
            f"{format_ids(batched, members)}, whose predictions are: lower "
            "train.learning_rate, and check their labels"
        )
    from_start = non_finite_samples(initial, batched, samples)
    if len(from_start):
        return (
            f"the prediction for {format_ids(batched, from_start)} is not finite even "
            "with the initial weights: look for overlapping atoms or a wrong cell "
            "there, and leave these structures out"
        )
    return (
        f"the prediction for {format_ids(batched, samples)} has become non-finite: "
        "lower train.learning_rate, or check these structures"
    )


def format_ids(batched: BatchedDataset, members: np.ndarray) -> str:
    """Returns the ids of the first few samples and the number of the others.

    Args:
        batched: dataset.
        members: indices of samples.
    """
    ids = ", ".join(repr(batched.data.ids[int(m)]) for m in members[:_NAMED])
    more = len(members) - _NAMED
    return ids + (f" and {more} more" if more > 0 else "")
