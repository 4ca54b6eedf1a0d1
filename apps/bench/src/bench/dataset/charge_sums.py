"""Comparison of the sum of labeled charges with the total charge."""

from typing import NamedTuple

import numpy as np

from bench.dataset.columns import Columns
from bench.dataset.composition import iterate_blocks

TOLERANCE = 0.01
"""e; charges in published datasets are rounded, which adds up to less than 0.001."""


class ChargeMismatch(NamedTuple):
    """Structures whose charges do not sum to their total charge.

    Args:
        structures: their indices, the largest difference first.
        differences: sum of the charges minus total charge, e.
        labeled: number of structures that have charges.
    """

    structures: np.ndarray
    differences: np.ndarray
    labeled: int


def mismatched_charges(columns: Columns) -> ChargeMismatch:
    """Compares the sum of the charges of each structure with its total charge.

    Args:
        columns: structures; those without a total charge are neutral.
    """
    labeled = columns.has("charges")
    differences = np.zeros(len(columns))
    if labeled.any():
        for rows, atoms in iterate_blocks(columns):
            sizes = columns.sizes[rows]
            charges = np.asarray(columns.arrays["charges"][atoms], float)
            sums = np.add.reduceat(charges, np.cumsum(sizes) - sizes)
            differences[rows] = sums - np.asarray(columns.arrays["total_charge"][rows])
    differences[~labeled] = 0
    structures = np.flatnonzero(np.abs(differences) > TOLERANCE)
    order = np.argsort(-np.abs(differences[structures]), kind="stable")
    structures = structures[order]
    return ChargeMismatch(structures, differences[structures], int(labeled.sum()))
