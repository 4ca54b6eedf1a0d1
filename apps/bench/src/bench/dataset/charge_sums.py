"""Labelled charges beside the total charge of their structure."""

from typing import NamedTuple

import numpy as np

from bench.dataset.columns import Columns
from bench.dataset.composition import blocks_of

TOLERANCE = 0.01
"""e. Charges in print are rounded; of published sets none sums to 0.001 beside it."""


class Mismatch(NamedTuple):
    """Structures whose charges sum to another total than the one that they have.

    Args:
        structures: their indices, the one farthest off first.
        differences: sum of the charges minus total charge, e.
        labelled: how many structures have charges.
    """

    structures: np.ndarray
    differences: np.ndarray
    labelled: int


def mismatched_charges(columns: Columns) -> Mismatch:
    """Compares the sum of labelled charges with the total charge.

    Args:
        columns: of structures; without a total charge they are neutral.
    """
    labelled = columns.has("charges")
    off = np.zeros(len(columns))
    if labelled.any():
        for rows, atoms in blocks_of(columns):
            sizes = columns.sizes[rows]
            charges = np.asarray(columns.arrays["charges"][atoms], float)
            sums = np.add.reduceat(charges, np.cumsum(sizes) - sizes)
            off[rows] = sums - np.asarray(columns.arrays["total_charge"][rows])
    off[~labelled] = 0
    found = np.flatnonzero(np.abs(off) > TOLERANCE)
    found = found[np.argsort(-np.abs(off[found]), kind="stable")]
    return Mismatch(found, off[found], int(labelled.sum()))
