"""Descriptor rows with columns for each structure's own elements only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class RaggedRows:
    """Rows of different lengths, concatenated.

    Parameters
    ----------
    values : ndarray of shape (n_values,), float32
        Values of all rows.
    lengths : ndarray of shape (n_rows,)
        Length of each row.
    elements : list of tuple of int
        Atomic numbers that each row has columns for.
    """

    values: np.ndarray
    lengths: np.ndarray
    elements: list[tuple[int, ...]]

    @classmethod
    def of(
        cls, rows: Sequence[np.ndarray], elements: Sequence[tuple[int, ...]]
    ) -> Self:
        """Concatenate rows."""
        lengths = np.array([len(row) for row in rows])
        return cls(np.concatenate(rows), lengths, list(elements))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        rows = np.split(self.values, np.cumsum(self.lengths)[:-1])
        return zip(rows, self.elements, strict=True)

    def count_nonzero(self) -> np.ndarray:
        """Return the number of nonzero values of each row."""
        return np.array([np.count_nonzero(row) for row, _ in self])
