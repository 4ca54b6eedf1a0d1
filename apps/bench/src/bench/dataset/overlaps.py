"""Search for overlapping atoms in many structures."""

import itertools
from typing import NamedTuple

import numpy as np
from ase.geometry import minkowski_reduce

from bench.dataset.columns import Columns

MIN_DISTANCE = 0.1
"""Å; shorter distances between nuclei do not occur."""

BOX = 0.4
"""Å, smallest edge of the boxes of the cell list. Boxes extended by `MIN_DISTANCE` are
smaller than a bond length, so nearly every box has one atom."""

MIN_HEIGHT = 1.0
"""Å; cells with a smaller height are Minkowski-reduced."""

PRIMES = np.array([73856093, 19349669, 83492791], np.int64)
"""Factors of the hash of a box; collisions cost time but do not change the result."""

IMAGES = tuple(np.array(shift) for shift in itertools.product((-1, 0, 1), repeat=3))


class _Atoms(NamedTuple):
    """All atoms of some structures.

    Args:
        fractions: fractional coordinates, `(atoms, 3)`; Å without a cell.
        cells: lattice vectors as rows, Å, `(structures, 3, 3)`; the identity without a
            cell.
        heights: of the cells, Å, `(structures, 3)`.
        periodic: whether a structure is periodic, `(structures,)`.
        owner: index of the structure of each atom, `(atoms,)`.
    """

    fractions: np.ndarray
    cells: np.ndarray
    heights: np.ndarray
    periodic: np.ndarray
    owner: np.ndarray

    def distances(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Returns the minimum-image distances of pairs of atoms, Å.

        Args:
            first: index of one atom per pair.
            second: index of the other atom, in the same structure.
        """
        owner = self.owner[first]
        periodic = self.periodic[owner, None]
        difference = self.fractions[first] - self.fractions[second]
        difference -= np.where(periodic, np.rint(difference), 0)
        lengths = [
            np.linalg.norm(
                np.einsum(
                    "pi,pij->pj", difference + shift * periodic, self.cells[owner]
                ),
                axis=1,
            )
            for shift in IMAGES
        ]
        return np.min(lengths, axis=0)


def find_overlaps(columns: Columns) -> dict[int, str]:
    """Finds structures in which two atoms, or an atom and an image, nearly coincide.

    Uses a cell list: atoms near the face of a box are also added to the neighboring
    box, so only atoms of the same box are compared.

    Args:
        columns: structures.

    Returns:
        A message with the atoms and their distance, by index of the structure.
    """
    periodic = np.asarray(columns.arrays["periodic"])
    cells = np.where(periodic[:, None, None], columns.arrays["cell"], np.eye(3))
    messages = _own_images(cells)
    inverse = np.linalg.inv(cells)
    owner = np.repeat(np.arange(len(columns)), columns.sizes)
    positions = np.asarray(columns.arrays["positions"])
    fractions = np.einsum("ai,aij->aj", positions, inverse[owner])
    heights = 1 / np.linalg.norm(inverse, axis=1)
    atoms = _Atoms(fractions, cells, heights, periodic, owner)
    starts = np.cumsum(columns.sizes) - columns.sizes
    candidates = _in_shared_boxes(*_boxes(atoms))
    for first, second, distance in _close_pairs(*candidates, atoms, messages):
        i = int(owner[first])
        pair = sorted((int(first - starts[i]), int(second - starts[i])))
        messages[i] = f"atoms {pair[0]} and {pair[1]} are {distance:.2g} Å apart"
    return messages


def _own_images(cells: np.ndarray) -> dict[int, str]:
    """Finds structures with a lattice vector shorter than `MIN_DISTANCE`.

    Replaces thin cells by Minkowski-reduced ones, in place: the nearest image is then
    within one lattice vector in each direction.
    """
    messages = {}
    heights = 1 / np.linalg.norm(np.linalg.inv(cells), axis=1)
    for i in np.flatnonzero(heights.min(1) < MIN_HEIGHT):
        cells[i], _ = minkowski_reduce(cells[i])
        shortest = np.linalg.norm(cells[i], axis=1).min()
        if shortest < MIN_DISTANCE:
            messages[int(i)] = f"an atom and its own image are {shortest:.2g} Å apart"
    return messages


def _boxes(atoms: _Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Returns the hash of each box that an atom is in or almost in, and the atom."""
    owner = atoms.owner
    periodic = atoms.periodic[:, None]
    # Boxes per lattice vector; without a cell, more than any structure spans.
    counts = np.where(periodic, np.maximum(np.floor(atoms.heights / BOX), 1), 2.0**40)
    scale = np.where(periodic, counts, 1 / BOX)
    margin = 0.5 * MIN_DISTANCE * scale / atoms.heights
    counts, scale, margin = (x[owner] for x in (counts, scale, margin))
    coordinates = atoms.fractions * scale - margin
    box = np.floor(coordinates)
    near_next = coordinates - box > 1 - 2 * margin
    box -= counts * np.floor(box / counts)
    keys = (box.astype(np.int64) * PRIMES).sum(1) + owner * np.int64(2654435761)
    members = np.arange(len(owner))
    for axis in range(3):
        touches = near_next[members, axis]
        added = members[touches]
        last = counts[added, axis] - 1
        step = np.where(box[added, axis] == last, -last, 1).astype(np.int64)
        keys = np.concatenate([keys, keys[touches] + step * PRIMES[axis]])
        members = np.concatenate([members, added])
    return keys, members


def _in_shared_boxes(
    keys: np.ndarray, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the atoms in boxes of at least two atoms, sorted by box.

    Most boxes have one atom, so counting first is faster than sorting all atoms.
    """
    slots = keys & ((1 << (4 * len(keys)).bit_length()) - 1)
    shared = np.bincount(slots)[slots] > 1
    keys, members = keys[shared], members[shared]
    order = np.argsort(keys, kind="stable")
    return keys[order], members[order]


def _close_pairs(keys, members, atoms: _Atoms, known):
    """Yields one pair per structure: indices of the two atoms and their distance, Å.

    Args:
        keys: hashes of the boxes, sorted.
        members: indices of the atoms, in the same order.
        atoms: all atoms.
        known: indices of structures to skip.
    """
    done = np.zeros(len(atoms.cells), bool)
    done[list(known)] = True
    for step in itertools.count(1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        first, second = members[same], members[same + step]
        is_pair = (first != second) & ~done[atoms.owner[first]]
        is_pair &= atoms.owner[first] == atoms.owner[second]
        if not len(same) or done.all():
            return
        first, second = first[is_pair], second[is_pair]
        distances = atoms.distances(first, second)
        close = distances < MIN_DISTANCE
        for pair in zip(first[close], second[close], distances[close], strict=True):
            if not done[atoms.owner[pair[0]]]:
                done[atoms.owner[pair[0]]] = True
                yield pair
