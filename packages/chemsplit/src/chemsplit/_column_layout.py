"""Columns of each pair of elements in descriptor rows."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


def as_elements(species: Iterable[int | str]) -> tuple[int, ...]:
    """Return the sorted atomic numbers of elements given as numbers or symbols."""
    from ase.data import atomic_numbers

    elements = set()
    for element in species:
        if isinstance(element, str):
            number = atomic_numbers.get(element, 0)
        else:
            number = int(element)
        if number < 1:
            raise ValueError(
                f"`species` contains {element!r}, which is not an element."
            )
        elements.add(number)
    if not elements:
        raise ValueError("`species` must contain at least one element, got none.")
    return tuple(sorted(elements))


@dataclass(frozen=True)
class ColumnLayout:
    """Assignment of columns to pairs of elements, in DScribe's order.

    Parameters
    ----------
    elements : tuple of int
        Atomic numbers, ascending.
    same, other : int
        Number of columns for one element, and for a pair of different elements.
    """

    elements: tuple[int, ...]
    same: int
    other: int

    @functools.cached_property
    def _starts(self) -> tuple[np.ndarray, int]:
        """First column of each pair [elements, elements], and the row's length."""
        first, second = np.triu_indices(len(self.elements))
        ends = np.cumsum(np.where(first == second, self.same, self.other))
        starts = np.zeros((len(self.elements),) * 2, dtype=np.int64)
        starts[first, second] = np.concatenate([[0], ends[:-1]])
        return starts, int(ends[-1])

    @property
    def size(self) -> int:
        """Number of columns."""
        return self._starts[1]

    def columns(self, elements: Sequence[int]) -> np.ndarray:
        """Return the columns of pairs of some of the elements, in ascending order."""
        subset = ColumnLayout(tuple(elements), self.same, self.other)
        indices = np.searchsorted(self.elements, elements)
        first, second = np.triu_indices(len(elements))
        if not self.other:
            first = second = np.arange(len(elements))
        subset_starts = subset._starts[0][first, second]
        shift = self._starts[0][indices[first], indices[second]] - subset_starts
        lengths = np.diff(np.append(subset_starts, subset.size))
        return np.arange(subset.size) + np.repeat(shift, lengths)
