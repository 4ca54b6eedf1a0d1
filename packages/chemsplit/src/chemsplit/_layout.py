"""The columns that pairs of elements occupy in one row for all structures."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


def as_elements(species: Iterable[int | str]) -> tuple[int, ...]:
    """Sort the atomic numbers of elements given as numbers or as symbols."""
    from ase.data import atomic_numbers

    elements = set()
    for one in species:
        number = atomic_numbers.get(one, 0) if isinstance(one, str) else int(one)
        if number < 1:
            raise ValueError(f"`species` holds {one!r}, which is not an element.")
        elements.add(number)
    if not elements:
        raise ValueError("`species` names no element.")
    return tuple(sorted(elements))


@dataclass(frozen=True)
class Layout:
    """Where each pair of elements stands in a row, in DScribe's own order.

    Parameters
    ----------
    elements : tuple of int
        Atomic numbers, ascending.
    same, other : int
        Number of columns for an element with itself, and for two elements.
    """

    elements: tuple[int, ...]
    same: int
    other: int

    @functools.cached_property
    def _edges(self) -> tuple[np.ndarray, int]:
        """First column of each pair [elements, elements], and the row's length."""
        first, second = np.triu_indices(len(self.elements))
        ends = np.cumsum(np.where(first == second, self.same, self.other))
        starts = np.zeros((len(self.elements),) * 2, dtype=np.int64)
        starts[first, second] = np.concatenate([[0], ends[:-1]])
        return starts, int(ends[-1])

    @property
    def size(self) -> int:
        """Number of columns."""
        return self._edges[1]

    def columns(self, elements: Sequence[int]) -> np.ndarray:
        """List the columns that a structure of these elements fills, ascending."""
        own = Layout(tuple(elements), self.same, self.other)
        place = np.searchsorted(self.elements, elements)
        first, second = np.triu_indices(len(elements))
        if not self.other:
            first = second = np.arange(len(elements))
        own_starts = own._edges[0][first, second]
        shift = self._edges[0][place[first], place[second]] - own_starts
        lengths = np.diff(np.append(own_starts, own.size))
        return np.arange(own.size) + np.repeat(shift, lengths)
