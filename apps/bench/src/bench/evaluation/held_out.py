"""What a trained model predicts for the structures that it did not learn from."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from backbones import Potential

from bench.batches.loading import BatchedDataset
from bench.evaluation.divergence import format_ids
from bench.evaluation.errors import Prediction, charge_sign, predict
from bench.exceptions import BenchError
from bench.execution.memory import peak_memory

Parts = dict[str, list[Prediction]]
"""Predictions by part of the split."""


class HeldOutPredictions(NamedTuple):
    """Predictions of the validation and the test part, and what they cost."""

    predictions: Parts
    charge_sign: int
    """-1 where latent charges were turned to fit the labels of the validation part."""
    cost: dict[str, float | None]
    """Microseconds an atom of the test part, and the peak memory in MiB."""


def predict_held_out(
    potential: Potential,
    batched: BatchedDataset,
    members: Mapping[str, np.ndarray],
    kinds: Collection[str],
    *,
    turned: bool,
) -> HeldOutPredictions:
    """Predictions of a model in the kinds that it knows.

    Args:
        potential: as trained.
        batched: packed data.
        members: indices of the samples of `validation` and, last, `test`.
        kinds: see `predicted_kinds`.
        turned: whether its charges may have the other sign, for energies do not decide.

    Raises:
        BenchError: a prediction is not finite.
    """
    predictions, seconds = {}, 0.0
    for part, indices in members.items():
        began = time.perf_counter()
        predictions[part] = predict(
            potential, batched, indices, slopes="force" in kinds
        )
        seconds = time.perf_counter() - began
        _check_finite(predictions[part], batched, indices, part)
    # Compiled by then, so this is the cost of the test part alone.
    atoms = int(batched.data.sizes[members["test"]].sum())
    cost = {"microseconds_per_atom": 1e6 * seconds / atoms, "mebibytes": peak_memory()}
    if "force" not in kinds:
        predictions = {
            k: [p.without_energy() for p in v] for k, v in predictions.items()
        }
    sign = 1
    if "born" in kinds:
        predictions = _with_response(potential, batched, members, predictions)
        if turned:
            held = [batched.data.samples[int(i)] for i in members["validation"]]
            sign = charge_sign(predictions["validation"], held)
    turn = lambda several: [p.turned(sign) for p in several]
    if sign < 0:
        predictions = {part: turn(several) for part, several in predictions.items()}
    return HeldOutPredictions(predictions, sign, cost)


def _check_finite(
    predictions: Sequence[Prediction],
    batched: BatchedDataset,
    members: np.ndarray,
    part: str,
) -> None:
    lost = np.array([not p.is_finite for p in predictions])
    if lost.any():
        raise BenchError(
            f"The prediction for {format_ids(batched, members[lost])} of the {part} "
            "part is not finite: look for overlapping atoms or a wrong cell there."
        )


def _with_response(
    potential: Potential,
    batched: BatchedDataset,
    members: Mapping[str, np.ndarray],
    predictions: Parts,
) -> Parts:
    """Predictions with Born charges where they are labelled."""
    samples = batched.data.samples
    found = {}
    for part, indices in members.items():
        labelled = [i for i in indices if samples[int(i)].born_charges is not None]
        chosen = np.array(labelled, int)
        born = predict(potential, batched, chosen, born=True) if labelled else []
        own = {i: p.born_charges for i, p in zip(labelled, born, strict=True)}
        found[part] = [
            p._replace(born_charges=own.get(i))
            for i, p in zip(indices, predictions[part], strict=True)
        ]
    return found
