"""Cosine similarities of many descriptors, a block at a time."""

from typing import Any, Self

import numpy as np
from scipy import sparse

from ._coordinates import row_coordinates

# Entries of the dense blocks that sparse rows are multiplied by.
_MOST_ENTRIES = 1 << 26


class Directions:
    """Descriptors of which only the direction counts.

    No copy of dense rows is made: similarities are divided by the norms. A row of
    zeros is similar to nothing.
    """

    def __init__(self, rows: Any):
        self._rows = _without_empty_columns(rows) if sparse.issparse(rows) else rows
        squares = rows.power(2).sum(axis=1) if sparse.issparse(rows) else None
        if squares is None:
            squares = np.einsum("ij,ij->i", rows, rows)
        norms = np.sqrt(np.asarray(squares).ravel())
        self._inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)

    @classmethod
    def compact(cls, rows: Any) -> Self:
        """Rewrite wide rows in fewer columns first: worth it for many products."""
        return cls(row_coordinates(rows))

    def __len__(self) -> int:
        return self._rows.shape[0]

    def similarities(self, some: Any, others: np.ndarray) -> np.ndarray:
        """Cosines of some rows (indices or a slice) with others, [some, others]."""
        scale = self._inverse[some][:, None]
        if not sparse.issparse(self._rows):
            products = self._rows[some] @ self._rows[others].T
        else:
            width = max(1, _MOST_ENTRIES // self._rows.shape[1])
            left = self._rows[some]
            blocks = [
                left @ self._rows[others[start : start + width]].toarray().T
                for start in range(0, len(others), width)
            ]
            products = np.concatenate(blocks, axis=1)
        return products * scale * self._inverse[others]

    def total(self, weights: np.ndarray) -> np.ndarray:
        """Sum the unit vectors with weights [rows, sums] -> [features, sums]."""
        weights = self._inverse[:, None] * weights
        return self._rows.T @ weights.astype(self._rows.dtype)

    def along(self, vectors: np.ndarray) -> np.ndarray:
        """Components of the unit vectors along vectors [features, k] -> [rows, k]."""
        return (self._rows @ vectors.astype(self._rows.dtype)) * self._inverse[:, None]


def _without_empty_columns(rows: Any) -> Any:
    rows = sparse.csr_array(rows)
    used, place = np.unique(rows.indices, return_inverse=True)
    shape = (rows.shape[0], max(1, len(used)))
    return sparse.csr_array((rows.data, place, rows.indptr), shape=shape)
