"""Pairs of atoms within the cutoff, periodic images included."""

from typing import NamedTuple

import numpy as np
import vesin
from ase.data import chemical_symbols

from ._structure import Structure


class Neighbors(NamedTuple):
    """Directed pairs sorted by receiver, each pair in both directions.

    The vector of a pair is `positions[sender] + shift @ cell - positions[receiver]`.
    """

    senders: np.ndarray  # [edges]
    receivers: np.ndarray  # [edges]
    shifts: np.ndarray  # [edges, 3], whole lattice vectors

    def __len__(self):
        return len(self.senders)


def neighbors(
    structure: Structure, cutoff: float, *, closest: float = 0.0
) -> Neighbors:
    """All pairs closer than the cutoff; an atom of a small cell sees its own images.

    Args:
        structure: open or periodic.
        cutoff: Å.
        closest: no two atoms may be closer than this, periodic images included, Å.

    Raises:
        ValueError: the cutoff is not positive, or two atoms are too close.
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
    # A total order, so that a batch does not depend on the search's own order.
    order = np.lexsort((*shifts.T, senders, receivers))
    return Neighbors(
        senders[order].astype(np.int32),
        receivers[order].astype(np.int32),
        shifts[order].astype(np.int32),
    )


def _too_close(structure, ends: tuple[int, int], distance, closest: float) -> str:
    named = [f"{i} ({chemical_symbols[structure.numbers[i]]})" for i in sorted(ends)]
    first, second = named if len(set(ends)) > 1 else (named[0], "its periodic image")
    return (
        f"Atom {first} and {second} are {distance:.3g} Å apart, closer than {closest} "
        "Å: remove one, or move them apart."
    )
