"""Where a model errs: by size, charge, element and distance to its training part."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from scipy.sparse import csr_matrix
from sklearn.metrics import pairwise_distances_argmin_min

from bench.evaluation.intervals import absolute_errors

Series = list[tuple[str, float]]
"""Label and mean absolute error of each bin."""

_BINS = 4


def nearest_similarity(
    vectors: csr_matrix, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Cosine similarity of each test structure to the nearest training structure."""
    found = pairwise_distances_argmin_min(
        vectors[test], vectors[train], metric="cosine"
    )
    return 1 - found[1]


def by_element(frames: Sequence[Any], kind: str) -> Series:
    """Mean absolute error of forces (meV/Å) or charges (me) by element."""
    width = {"force": 3, "charge": 1}[kind]
    numbers, errors = [], []
    for frame in frames:
        found = absolute_errors(frame, kind)
        if found is not None:
            numbers.append(frame.numbers)
            errors.append(found.reshape(-1, width).mean(1))
    if not errors:
        return []
    every, values = np.concatenate(numbers), np.concatenate(errors)
    return [
        (chemical_symbols[z], float(values[every == z].mean()))
        for z in np.unique(every)
    ]


def by_charge(frames: Sequence[Any], kind: str = "energy") -> Series:
    """Mean error by the structure's total charge.

    Args:
        frames: of the test part.
        kind: of error, see `absolute_errors`.
    """
    frames, errors = _of_structures(frames, kind)
    charges = np.array([round(f.info["total_charge"]) for f in frames])
    return [(f"{q:+d}", float(errors[charges == q].mean())) for q in np.unique(charges)]


def by_size(frames: Sequence[Any], kind: str = "energy") -> Series:
    """Mean error by number of atoms, in bins of equal population.

    Args:
        frames: of the test part.
        kind: of error, see `absolute_errors`.
    """
    frames, errors = _of_structures(frames, kind)
    sizes = np.array([len(f) for f in frames], float)
    return _binned(sizes, errors, "{:.0f}–{:.0f}")


def by_similarity(
    frames: Sequence[Any], similarity: Mapping[int, float], kind: str = "energy"
) -> Series:
    """Mean error by similarity to the training part.

    Args:
        frames: of the test part.
        similarity: `nearest_similarity` by index in the data set.
        kind: of error, see `absolute_errors`.
    """
    frames, errors = _of_structures(frames, kind)
    near = np.array([similarity[int(f.info["index"])] for f in frames])
    # As many digits as tell alike structures apart.
    largest = near.min(initial=1.0)
    digits = 2 + math.ceil(-math.log10(np.clip(1 - largest, 1e-9, 0.1)))
    return _binned(near, errors, f"{{:.{digits}f}}–{{:.{digits}f}}")


def _of_structures(frames: Sequence[Any], kind: str) -> tuple[list[Any], np.ndarray]:
    """Structures that are labelled, and the mean absolute error of each."""
    both = [(f, absolute_errors(f, kind)) for f in frames]
    found = [(f, errors.mean()) for f, errors in both if errors is not None]
    return [f for f, _ in found], np.array([error for _, error in found])


def _binned(values: np.ndarray, errors: np.ndarray, form: str) -> Series:
    """Means over bins between quantiles; equal values share a bin."""
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    if len(edges) < 2:
        place = np.zeros(len(values), int)
    return [
        (
            form.format(values[place == b].min(), values[place == b].max()),
            float(errors[place == b].mean()),
        )
        for b in np.unique(place)
    ]
