"""Neighbor lists."""

from typing import NamedTuple

import numpy as np
import vesin
from ase.data import chemical_symbols

from ._structure import Structure


class Neighbors(NamedTuple):
    """Pairs of atoms within the cutoff, in both directions, sorted by receiver.

    The vector of a pair is `positions[sender] + shift @ cell - positions[receiver]`.
    """

    senders: np.ndarray
    """Index of the neighbor, `(edges,)`."""
    receivers: np.ndarray
    """Index of the central atom, `(edges,)`."""
    shifts: np.ndarray
    """Integer multiples of the lattice vectors, `(edges, 3)`."""

    def __len__(self):
        return len(self.senders)


def neighbors(
    structure: Structure, cutoff: float, *, closest: float = 0.0
) -> Neighbors:
    """Returns the neighbor list of a structure, periodic images included.

    Args:
        structure: open or periodic; the cell may be smaller than the cutoff.
        cutoff: Å.
        closest: smallest allowed distance of two atoms, Å.

    Raises:
        ValueError: the cutoff is not positive, or two atoms are closer than `closest`.
    """
    if not cutoff > 0:
        raise ValueError(f"`cutoff` is a distance and must be positive, got {cutoff}.")
    box = np.zeros((3, 3)) if structure.cell is None else structure.cell
    search = vesin.NeighborList(cutoff=float(cutoff), full_list=True)
    receivers, senders, shifts, distances = search.compute(
        structure.positions, box, structure.cell is not None, "ijSd"
    )
    if len(distances) and distances.min() < closest:
        nearest = distances.argmin()
        ends = int(receivers[nearest]), int(senders[nearest])
        raise ValueError(_too_close(structure, ends, distances[nearest], closest))
    # A total order, so that sums over edges do not depend on the search algorithm.
    order = np.lexsort((*shifts.T, senders, receivers))
    return Neighbors(
        senders[order].astype(np.int32),
        receivers[order].astype(np.int32),
        shifts[order].astype(np.int32),
    )


def _too_close(structure, ends: tuple[int, int], distance, closest: float) -> str:
    names = [f"{i} ({chemical_symbols[structure.numbers[i]]})" for i in sorted(ends)]
    first, second = names if len(set(ends)) > 1 else (names[0], "its periodic image")
    return (
        f"Atom {first} and {second} are {distance:.3g} Å apart, closer than {closest} "
        "Å: remove one, or move them apart."
    )
