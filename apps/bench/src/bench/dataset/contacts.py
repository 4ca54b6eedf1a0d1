"""Atoms that lie on one another, in many structures at once."""

import itertools
from typing import NamedTuple

import numpy as np
from ase.geometry import minkowski_reduce

from bench.dataset.columns import Columns

LEAST = 0.1
"""Å. Two atoms closer than this are a mistake: no nuclei ever are."""

BOX = 0.4
"""Å, least edge of the boxes that atoms are sorted into. With `LEAST` added, a box is
smaller than bonds are long, so that nearly all atoms are alone in theirs."""

THIN = 1.0
"""Å. A cell with a smaller height is reduced before images are compared."""

PRIMES = np.array([73856093, 19349669, 83492791], np.int64)
"""Of the hash of a box; boxes that share a hash by chance cost time, no mistake."""

IMAGES = tuple(np.array(shift) for shift in itertools.product((-1, 0, 1), repeat=3))


class _Atoms(NamedTuple):
    """All atoms of some structures.

    Args:
        fractions: of the lattice vectors, `(atoms, 3)`; Å where there is no cell.
        cells: of the structures, Å, `(structures, 3, 3)`; of 1 Å where there is none.
        heights: of the cells, Å, `(structures, 3)`.
        periodic: which structures are.
        owner: structure of each atom.
    """

    fractions: np.ndarray
    cells: np.ndarray
    heights: np.ndarray
    periodic: np.ndarray
    owner: np.ndarray

    def distances(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Between atoms, Å, the nearest image counting.

        Args:
            first: indices of atoms.
            second: of as many others in the same structures.
        """
        owner = self.owner[first]
        periodic = self.periodic[owner, None]
        apart = self.fractions[first] - self.fractions[second]
        apart -= np.where(periodic, np.rint(apart), 0)
        lengths = [
            np.linalg.norm(
                np.einsum("pi,pij->pj", apart + shift * periodic, self.cells[owner]),
                axis=1,
            )
            for shift in IMAGES
        ]
        return np.min(lengths, axis=0)


def overlaps(columns: Columns) -> dict[int, str]:
    """Structures in which two atoms, or an atom and an image, nearly coincide.

    Atoms are sorted into boxes, those near a face into each box that they nearly touch;
    only atoms of the same box are compared.

    Args:
        columns: of structures.

    Returns:
        What is too close, by the index of the structure.
    """
    periodic = np.asarray(columns.arrays["periodic"])
    cells = np.where(periodic[:, None, None], columns.arrays["cell"], np.eye(3))
    found = _own_images(cells)
    inverse = np.linalg.inv(cells)
    owner = np.repeat(np.arange(len(columns)), columns.sizes)
    positions = np.asarray(columns.arrays["positions"])
    fractions = np.einsum("ai,aij->aj", positions, inverse[owner])
    heights = 1 / np.linalg.norm(inverse, axis=1)
    atoms = _Atoms(fractions, cells, heights, periodic, owner)
    starts = np.cumsum(columns.sizes) - columns.sizes
    for first, second, apart in _close_pairs(*_shared(*_boxes(atoms)), atoms, found):
        i = int(owner[first])
        pair = sorted((int(first - starts[i]), int(second - starts[i])))
        found[i] = f"atoms {pair[0]} and {pair[1]} are {apart:.2g} Å apart"
    return found


def _own_images(cells: np.ndarray) -> dict[int, str]:
    """Structures whose atoms nearly coincide with their own images.

    Thin cells are replaced by reduced ones of the same lattice, in which the nearest
    image is one of the 27 around.
    """
    found = {}
    heights = 1 / np.linalg.norm(np.linalg.inv(cells), axis=1)
    for i in np.flatnonzero(heights.min(1) < THIN):
        cells[i], _ = minkowski_reduce(cells[i])
        shortest = np.linalg.norm(cells[i], axis=1).min()
        if shortest < LEAST:
            found[int(i)] = f"an atom and its own image are {shortest:.2g} Å apart"
    return found


def _boxes(atoms: _Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the boxes that atoms lie in or nearly touch, and those atoms."""
    owner = atoms.owner
    periodic = atoms.periodic[:, None]
    # Of cells, whole numbers of boxes; without one, more than any structure is long.
    counts = np.where(periodic, np.maximum(np.floor(atoms.heights / BOX), 1), 2.0**40)
    scale = np.where(periodic, counts, 1 / BOX)
    reach = 0.5 * LEAST * scale / atoms.heights
    counts, scale, reach = (x[owner] for x in (counts, scale, reach))
    place = atoms.fractions * scale - reach
    low = np.floor(place)
    near = place - low > 1 - 2 * reach
    low -= counts * np.floor(low / counts)
    keys = (low.astype(np.int64) * PRIMES).sum(1) + owner * np.int64(2654435761)
    members = np.arange(len(owner))
    for axis in range(3):
        touches = near[members, axis]
        more = members[touches]
        last = counts[more, axis] - 1
        step = np.where(low[more, axis] == last, -last, 1).astype(np.int64)
        keys = np.concatenate([keys, keys[touches] + step * PRIMES[axis]])
        members = np.concatenate([members, more])
    return keys, members


def _shared(keys: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The atoms that are not alone in their boxes, box by box.

    Most are alone: counting is faster than sorting them all.
    """
    slots = keys & ((1 << (4 * len(keys)).bit_length()) - 1)
    shared = np.bincount(slots)[slots] > 1
    keys, members = keys[shared], members[shared]
    order = np.argsort(keys, kind="stable")
    return keys[order], members[order]


def _close_pairs(keys, members, atoms: _Atoms, known):
    """A pair of each structure that has one: indices of its atoms and their distance.

    Args:
        keys: sorted.
        members: the atoms in that order.
        atoms: all of them.
        known: structures that are not looked at.
    """
    done = np.zeros(len(atoms.cells), bool)
    done[list(known)] = True
    for step in itertools.count(1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        first, second = members[same], members[same + step]
        kept = (first != second) & ~done[atoms.owner[first]]
        kept &= atoms.owner[first] == atoms.owner[second]
        if not len(same) or done.all():
            return
        first, second = first[kept], second[kept]
        apart = atoms.distances(first, second)
        close = apart < LEAST
        for pair in zip(first[close], second[close], apart[close], strict=True):
            if not done[atoms.owner[pair[0]]]:
                done[atoms.owner[pair[0]]] = True
                yield pair
