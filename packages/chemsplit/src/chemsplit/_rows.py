"""Rows of descriptors over each structure's own elements."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Rows of different lengths, one after the other.

    Parameters
    ----------
    values : ndarray of shape (n_values,), float32
        All rows.
    lengths : ndarray of shape (n_rows,)
        Length of each.
    elements : list of tuple of int
        Elements that each row has columns for.
    """

    values: np.ndarray
    lengths: np.ndarray
    elements: list[tuple[int, ...]]

    @classmethod
    def of(
        cls, rows: Sequence[np.ndarray], elements: Sequence[tuple[int, ...]]
    ) -> Self:
        """Join rows."""
        lengths = np.array([len(row) for row in rows])
        return cls(np.concatenate(rows), lengths, list(elements))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        rows = np.split(self.values, np.cumsum(self.lengths)[:-1])
        return zip(rows, self.elements, strict=True)

    def counts(self) -> np.ndarray:
        """Count the values of each row that are not zero."""
        return np.array([np.count_nonzero(row) for row, _ in self])
