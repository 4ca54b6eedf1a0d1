"""Neighbor tables with periodic images, made on the host."""

import numpy as np
from scipy.spatial import KDTree

from ._cell import heights
from ._reciprocal_vectors import rounded_up


def neighbor_table(
    coordinates: np.ndarray, cell: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """The neighbors of each atom within a cutoff.

    The separation is `(coordinates[j] - coordinates[i] + shift) @ cell`; an atom is
    its own neighbor only with a nonzero shift. Both orders of a pair are listed.

    Args:
        coordinates: fractional, not necessarily wrapped, `(atoms, 3)`.
        cell: rows are lattice vectors, Å.
        cutoff: Å.

    Returns:
        Indices `(atoms, columns)` and lattice translations `(atoms, columns, 3)`;
        unused entries contain the atom itself with zero shift.
    """
    atoms = len(coordinates)
    cell_indices = np.floor(coordinates).astype(int)
    wrapped = coordinates - cell_indices
    index, image = _images(wrapped, cutoff / heights(cell))
    tree = KDTree(wrapped @ cell)
    pairs = tree.sparse_distance_matrix(
        KDTree((wrapped[index] + image) @ cell), cutoff, output_type="ndarray"
    )
    i, image_index = pairs["i"], pairs["j"]
    j, shift = index[image_index], image[image_index]
    distinct = (i != j) | shift.any(axis=1)
    i, j, shift = i[distinct], j[distinct], shift[distinct]
    shift = shift - (cell_indices[j] - cell_indices[i])
    order = np.argsort(i, kind="stable")
    i, j, shift = i[order], j[order], shift[order]
    counts = np.bincount(i, minlength=atoms)
    columns = rounded_up(int(counts.max(initial=0)))
    column = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    neighbors = np.repeat(np.arange(atoms)[:, None], columns, axis=1)
    shifts = np.zeros((atoms, columns, 3), int)
    neighbors[i, column], shifts[i, column] = j, shift
    return neighbors, shifts


def _images(wrapped: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and translations of all atoms within `reach` of the unit cube."""
    index, image = np.arange(len(wrapped)), np.zeros((len(wrapped), 3), int)
    for axis in range(3):
        parts = []
        limit = int(np.ceil(reach[axis]))
        for n in range(-limit, limit + 1):
            coordinate = wrapped[index, axis] + n
            near = (coordinate >= -reach[axis]) & (coordinate <= 1 + reach[axis])
            translated = image[near]
            translated[:, axis] = n
            parts.append((index[near], translated))
        index = np.concatenate([p[0] for p in parts])
        image = np.concatenate([p[1] for p in parts])
    return index, image
