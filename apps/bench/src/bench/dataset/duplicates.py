"""Structures that are the same one, in many at once."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from bench.dataset.columns import Columns
from bench.dataset.composition import blocks_of

ROUNDING = 1e-4
"""Å. Sums of weighted coordinates that differ by less are those of one structure."""

SUMS = 4
"""Of coordinates, each with weights of its own, by which structures are compared."""


def identical(columns: Columns) -> list[np.ndarray]:
    """Structures of the same atoms in the same order, places and cell.

    Each structure has a few sums of its coordinates, weighted at random by 1 to 2, so
    that a single atom moved by more than the rounding changes all of them. Positions
    that other programs rounded otherwise change them by less.

    Args:
        columns: of structures.

    Returns:
        Indices of structures that are the same, at least two each, in order.
    """
    elements, sums = _fingerprints(columns)
    # Equal ones are joined first: of many copies all pairs would be too many.
    _, kinds = np.unique(elements, return_inverse=True)
    rows = np.column_stack([kinds, np.rint(sums / ROUNDING)])
    different, codes = np.unique(rows, axis=0, return_inverse=True)
    # Kinds lie far apart, roundings of one number at most one step.
    places = different * [4.0, *[1.0] * SUMS]
    pairs = KDTree(places).query_pairs(1.5, p=np.inf, output_type="ndarray")
    graph = sparse.coo_array(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(places), len(places))
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
    """A hash of the elements of each structure in order, and its sums in Å."""
    largest = int(columns.sizes.max(initial=1))
    rng = np.random.default_rng(0)
    names = rng.integers(1, 2**62, largest, np.uint64)
    weights = _weights(rng, (largest, 3, SUMS))
    of_cells = _weights(rng, (3, 3, SUMS))
    hashes, sums = [], []
    for rows, atoms in blocks_of(columns):
        sizes = columns.sizes[rows]
        starts = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        numbers = np.asarray(columns.arrays["numbers"][atoms]).astype(np.uint64)
        periodic = np.asarray(columns.arrays["periodic"][rows]).astype(np.uint64)
        hashes.append(np.add.reduceat(numbers * names[place], starts) * 2 + periodic)
        positions = np.asarray(columns.arrays["positions"][atoms])
        weighted = np.einsum("ax,axs->as", positions, weights[place])
        cells = np.einsum("nij,ijs->ns", columns.arrays["cell"][rows], of_cells)
        sums.append(np.add.reduceat(weighted, starts) + cells)
    empty = [np.zeros(0, np.uint64)], [np.zeros((0, SUMS))]
    return np.concatenate(hashes or empty[0]), np.concatenate(sums or empty[1])


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(1, 2, shape) * rng.choice([-1, 1], shape)
