"""Search for duplicate structures."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from bench.dataset.columns import Columns
from bench.dataset.composition import iterate_blocks

ROUNDING = 1e-4
"""Å; structures whose weighted sums differ by less are duplicates."""

SUMS = 4
"""Weighted sums of the coordinates per structure, each with other weights."""


def find_duplicates(columns: Columns) -> list[np.ndarray]:
    """Returns groups of structures with equal elements, positions and cell.

    The order of the atoms matters. Structures are compared by a few sums of their
    coordinates with random weights of magnitude 1 to 2: moving one atom by more than
    `ROUNDING` changes all sums, and positions rounded by different programs change
    them less.

    Args:
        columns: structures.

    Returns:
        Indices of the structures of each group, at least two per group.
    """
    elements, sums = _fingerprints(columns)
    # Equal rows are merged first: the number of pairs is quadratic in the copies.
    _, compositions = np.unique(elements, return_inverse=True)
    rows = np.column_stack([compositions, np.rint(sums / ROUNDING)])
    unique_rows, codes = np.unique(rows, axis=0, return_inverse=True)
    # Compositions are 4 apart and never paired; roundings of equal sums are at most 1.
    points = unique_rows * [4.0, *[1.0] * SUMS]
    pairs = KDTree(points).query_pairs(1.5, p=np.inf, output_type="ndarray")
    graph = sparse.coo_array(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(points), len(points))
    )
    _, labels = connected_components(graph, directed=False)
    members = labels[codes.ravel()]
    order = np.argsort(members, kind="stable")
    ends = np.flatnonzero(np.diff(members[order])) + 1
    return sorted(
        (group for group in np.split(order, ends) if len(group) > 1),
        key=lambda group: group[0],
    )


def _fingerprints(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Returns a hash of the elements of each structure and its weighted sums, Å."""
    largest = int(columns.sizes.max(initial=1))
    rng = np.random.default_rng(0)
    multipliers = rng.integers(1, 2**62, largest, np.uint64)
    weights = _weights(rng, (largest, 3, SUMS))
    cell_weights = _weights(rng, (3, 3, SUMS))
    hashes, sums = [], []
    for rows, atoms in iterate_blocks(columns):
        sizes = columns.sizes[rows]
        starts = np.cumsum(sizes) - sizes
        index = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        numbers = np.asarray(columns.arrays["numbers"][atoms]).astype(np.uint64)
        periodic = np.asarray(columns.arrays["periodic"][rows]).astype(np.uint64)
        hashes.append(
            np.add.reduceat(numbers * multipliers[index], starts) * 2 + periodic
        )
        positions = np.asarray(columns.arrays["positions"][atoms])
        weighted = np.einsum("ax,axs->as", positions, weights[index])
        cells = np.einsum("nij,ijs->ns", columns.arrays["cell"][rows], cell_weights)
        sums.append(np.add.reduceat(weighted, starts) + cells)
    empty = [np.zeros(0, np.uint64)], [np.zeros((0, SUMS))]
    return np.concatenate(hashes or empty[0]), np.concatenate(sums or empty[1])


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(1, 2, shape) * rng.choice([-1, 1], shape)
