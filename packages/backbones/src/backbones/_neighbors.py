"""Neighbor lists."""

from typing import NamedTuple

import numpy as np
import vesin
from ase.data import chemical_symbols
from jaxtyping import Float, Int


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
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    cutoff: float,
    *,
    closest: float = 0.0,
    species: Int[np.ndarray, " atoms"] | None = None,
) -> Neighbors:
    """Returns the neighbor list of one structure, periodic images included.

    Args:
        positions: Å.
        cell: lattice vectors as rows, Å; may be smaller than the cutoff. None for open
            boundaries.
        cutoff: Å.
        closest: smallest allowed distance of two atoms, Å.
        species: atomic numbers, which the message about two close atoms names; None
            names their indices only.

    Raises:
        ValueError: the cutoff is not positive, an array has another shape or a value
            that is not finite, or two atoms are closer than `closest`.
    """
    receivers, senders, shifts, distances = search(positions, cell, cutoff, "ijSd")
    if len(distances) and distances.min() < closest:
        nearest = distances.argmin()
        ends = int(receivers[nearest]), int(senders[nearest])
        raise ValueError(_too_close(species, ends, distances[nearest], closest))
    # A total order, so that sums over edges do not depend on the search algorithm.
    order = np.lexsort((*shifts.T, senders, receivers))
    return Neighbors(
        senders[order].astype(np.int32),
        receivers[order].astype(np.int32),
        shifts[order].astype(np.int32),
    )


def search(
    positions: np.ndarray, cell: np.ndarray | None, cutoff: float, quantities: str
) -> tuple[np.ndarray, ...]:
    """Returns what vesin finds about all pairs, in both directions.

    Args:
        positions: Å.
        cell: lattice vectors as rows, Å; None for open boundaries.
        cutoff: Å.
        quantities: vesin's letters, such as `"ijSd"`.

    Raises:
        ValueError: as `neighbors`.
    """
    if not cutoff > 0:
        raise ValueError(f"`cutoff` is a distance and must be positive, got {cutoff}.")
    positions = _checked("positions", positions, (len(positions), 3))
    box = np.zeros((3, 3)) if cell is None else _checked("cell", cell, (3, 3))
    pairs = vesin.NeighborList(cutoff=float(cutoff), full_list=True)
    return tuple(pairs.compute(positions, box, cell is not None, quantities))


def _checked(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` has values that are not finite.")
    return values


def _too_close(species, ends: tuple[int, int], distance, closest: float) -> str:
    symbol = lambda i: "" if species is None else f" ({chemical_symbols[species[i]]})"
    names = [f"{i}{symbol(i)}" for i in sorted(ends)]
    first, second = names if len(set(ends)) > 1 else (names[0], "its periodic image")
    return (
        f"Atom {first} and {second} are {distance:.3g} Å apart, closer than {closest} "
        "Å: remove one, or move them apart."
    )
