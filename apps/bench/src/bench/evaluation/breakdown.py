"""Test errors by size, charge, element and similarity to the training set."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from scipy.sparse import csr_matrix
from sklearn.metrics import pairwise_distances_argmin_min

from bench.evaluation.intervals import absolute_errors
from bench.labels import LABELS_BY_KIND

Series = list[tuple[str, float]]
"""Label and mean absolute error of each bin."""

_BINS = 4


def nearest_similarity(
    vectors: csr_matrix, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Returns the cosine similarity of each test structure to the nearest training one.

    Args:
        vectors: descriptors of all structures.
        train: indices of the training set.
        test: indices of the test set.
    """
    _, distances = pairwise_distances_argmin_min(
        vectors[test], vectors[train], metric="cosine"
    )
    return 1 - distances


def by_element(frames: Sequence[Any], kind: str) -> Series:
    """Returns the mean absolute error of a label per atom by element.

    Args:
        frames: of the test set.
        kind: of a label per atom, such as `force`.
    """
    width = math.prod(LABELS_BY_KIND[kind].shape)
    numbers, errors = [], []
    for frame in frames:
        frame_errors = absolute_errors(frame, kind)
        if frame_errors is not None:
            numbers.append(frame.numbers)
            errors.append(frame_errors.reshape(-1, width).mean(1))
    if not errors:
        return []
    elements, values = np.concatenate(numbers), np.concatenate(errors)
    return [
        (chemical_symbols[z], float(values[elements == z].mean()))
        for z in np.unique(elements)
    ]


def by_charge(frames: Sequence[Any], kind: str = "energy") -> Series:
    """Returns the mean error by total charge of the structure.

    Args:
        frames: of the test set.
        kind: of error, see `absolute_errors`.
    """
    frames, errors = _structure_errors(frames, kind)
    charges = np.array([round(f.info["total_charge"]) for f in frames])
    return [(f"{q:+d}", float(errors[charges == q].mean())) for q in np.unique(charges)]


def by_size(frames: Sequence[Any], kind: str = "energy") -> Series:
    """Returns the mean error by number of atoms, in bins of equal population.

    Args:
        frames: of the test set.
        kind: of error, see `absolute_errors`.
    """
    frames, errors = _structure_errors(frames, kind)
    sizes = np.array([len(f) for f in frames], float)
    return _binned(sizes, errors, "{:.0f}–{:.0f}")


def by_similarity(
    frames: Sequence[Any], similarity: Mapping[int, float], kind: str = "energy"
) -> Series:
    """Returns the mean error by similarity to the training set.

    Args:
        frames: of the test set.
        similarity: `nearest_similarity` by index in the dataset; structures without
            one are left out.
        kind: of error, see `absolute_errors`.
    """
    known = [f for f in frames if int(f.info["index"]) in similarity]
    frames, errors = _structure_errors(known, kind)
    values = np.array([similarity[int(f.info["index"])] for f in frames])
    # Enough digits to distinguish similarities close to 1.
    smallest = values.min(initial=1.0)
    digits = 2 + math.ceil(-math.log10(np.clip(1 - smallest, 1e-9, 0.1)))
    return _binned(values, errors, f"{{:.{digits}f}}–{{:.{digits}f}}")


def _structure_errors(frames: Sequence[Any], kind: str) -> tuple[list[Any], np.ndarray]:
    """Returns the structures with labels, and the mean absolute error of each."""
    candidates = [(f, absolute_errors(f, kind)) for f in frames]
    labeled = [(f, errors.mean()) for f, errors in candidates if errors is not None]
    return [f for f, _ in labeled], np.array([error for _, error in labeled])


def _binned(values: np.ndarray, errors: np.ndarray, form: str) -> Series:
    """Returns means over bins between quantiles; equal values share a bin."""
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)))
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    if len(edges) < 2:
        bins = np.zeros(len(values), int)
    return [
        (
            form.format(values[bins == b].min(), values[bins == b].max()),
            float(errors[bins == b].mean()),
        )
        for b in np.unique(bins)
    ]
