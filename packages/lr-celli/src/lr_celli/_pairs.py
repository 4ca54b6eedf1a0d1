"""Pairs of atoms within a distance, periodic images included, found on the host."""

import numpy as np
from scipy.spatial import KDTree

from ._lattice import heights
from ._vectors import rounded_up


def neighbour_table(
    coordinates: np.ndarray, cell: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """For every atom its neighbours' indices and the lattice translations to them.

    The separation is `(coordinates[j] - coordinates[i] + shift) @ cell`; an atom is
    its own neighbour only with a shift. Every pair is listed from both sides.

    Args:
        coordinates: fractional, not necessarily wrapped, `(atoms, 3)`.
        cell: rows are lattice vectors, Å.
        cutoff: Å.

    Returns:
        Indices `(atoms, width)` and shifts `(atoms, width, 3)`; free places hold the
        atom itself without a shift.
    """
    atoms = len(coordinates)
    home = np.floor(coordinates).astype(int)
    wrapped = coordinates - home
    index, image = _images(wrapped, cutoff / heights(cell))
    tree = KDTree(wrapped @ cell)
    found = tree.sparse_distance_matrix(
        KDTree((wrapped[index] + image) @ cell), cutoff, output_type="ndarray"
    )
    i, slot = found["i"], found["j"]
    j, shift = index[slot], image[slot]
    apart = (i != j) | shift.any(axis=1)
    i, j, shift = i[apart], j[apart], shift[apart] - (home[j] - home[i])[apart]
    order = np.argsort(i, kind="stable")
    i, j, shift = i[order], j[order], shift[order]
    counts = np.bincount(i, minlength=atoms)
    width = rounded_up(int(counts.max(initial=0)))
    place = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    neighbours = np.repeat(np.arange(atoms)[:, None], width, axis=1)
    shifts = np.zeros((atoms, width, 3), int)
    neighbours[i, place], shifts[i, place] = j, shift
    return neighbours, shifts


def _images(wrapped: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and translations of all atoms within `reach` of the unit cube."""
    index, image = np.arange(len(wrapped)), np.zeros((len(wrapped), 3), int)
    for axis in range(3):
        parts = []
        most = int(np.ceil(reach[axis]))
        for n in range(-most, most + 1):
            along = wrapped[index, axis] + n
            near = (along >= -reach[axis]) & (along <= 1 + reach[axis])
            moved = image[near]
            moved[:, axis] = n
            parts.append((index[near], moved))
        index = np.concatenate([p[0] for p in parts])
        image = np.concatenate([p[1] for p in parts])
    return index, image
