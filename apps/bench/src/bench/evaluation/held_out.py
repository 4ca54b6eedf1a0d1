"""Predictions of a trained model for the validation and test sets."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from backbones import Potential

from bench.batches.loading import BatchedDataset
from bench.evaluation.divergence import format_ids
from bench.evaluation.errors import charge_sign
from bench.evaluation.predicting import Prediction, predict_samples
from bench.exceptions import BenchError
from bench.execution.memory import peak_memory
from bench.labels import LABELS_BY_KIND, field_of

PredictionsBySet = dict[str, list[Prediction]]
"""Predictions by set of the split."""


class HeldOutPredictions(NamedTuple):
    """Predictions for the validation and test sets, and their cost."""

    predictions: PredictionsBySet
    charge_sign: int
    """-1 where latent charges were multiplied by -1 to agree with validation labels."""
    cost: dict[str, float | None]
    """Microseconds per atom of the test set, and peak memory in MiB."""


def predict_held_out(
    potential: Potential,
    batched: BatchedDataset,
    members: Mapping[str, np.ndarray],
    kinds: Collection[str],
    *,
    align_sign: bool,
) -> HeldOutPredictions:
    """Predicts the labels that a model was trained on.

    Args:
        potential: trained.
        batched: dataset with labels.
        members: indices of the samples of `validation` and, last, `test`.
        kinds: of labels, see `predicted_kinds`.
        align_sign: whether to choose the sign of latent charges by validation labels.

    Raises:
        BenchError: a prediction is not finite.
    """
    predictions, seconds = {}, 0.0
    for name, indices in members.items():
        start = time.perf_counter()
        predictions[name] = predict_samples(
            potential, batched, indices, forces="force" in kinds
        )
        seconds = time.perf_counter() - start
        _check_finite(predictions[name], batched, indices, name)
    # The validation set has compiled everything, so the test set is timed alone.
    atoms = int(batched.data.sizes[members["test"]].sum())
    cost = {"microseconds_per_atom": 1e6 * seconds / atoms, "mebibytes": peak_memory()}
    if "force" not in kinds:
        predictions = {
            k: [p.without_energy() for p in v] for k, v in predictions.items()
        }
    sign = 1
    requested = [kind for kind in kinds if LABELS_BY_KIND[kind].on_request]
    for kind in requested:
        predictions = _with_kind(kind, potential, batched, members, predictions)
    if requested and align_sign:
        samples = [batched.data.samples[int(i)] for i in members["validation"]]
        sign = charge_sign(predictions["validation"], samples)
    if sign < 0:
        predictions = {
            name: [p.with_sign(sign) for p in set_predictions]
            for name, set_predictions in predictions.items()
        }
    return HeldOutPredictions(predictions, sign, cost)


def _check_finite(
    predictions: Sequence[Prediction],
    batched: BatchedDataset,
    members: np.ndarray,
    name: str,
) -> None:
    non_finite = np.array([not p.is_finite for p in predictions])
    if non_finite.any():
        raise BenchError(
            f"The prediction for {format_ids(batched, members[non_finite])} of the "
            f"{name} set is not finite: look for overlapping atoms or a wrong cell "
            "there."
        )


def _with_kind(
    kind: str,
    potential: Potential,
    batched: BatchedDataset,
    members: Mapping[str, np.ndarray],
    predictions: PredictionsBySet,
) -> PredictionsBySet:
    """Adds a kind that is computed on request, for samples with such a label."""
    name = field_of(kind)
    has_label = batched.data.has(name)
    completed = {}
    for set_name, indices in members.items():
        labeled = indices[has_label[indices]]
        responses = (
            predict_samples(potential, batched, labeled, also=[kind])
            if len(labeled)
            else []
        )
        values = {i: p.labels[name] for i, p in zip(labeled, responses, strict=True)}
        completed[set_name] = [
            p.with_labels(**{name: values.get(i)})
            for i, p in zip(indices, predictions[set_name], strict=True)
        ]
    return completed
