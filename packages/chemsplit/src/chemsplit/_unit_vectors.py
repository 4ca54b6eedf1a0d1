"""Cosine similarities of many descriptors, in blocks."""

from typing import Any, Self

import numpy as np
from scipy import sparse

from ._row_space import row_space_coordinates

# Entries of the dense blocks that sparse rows are multiplied with.
_BLOCK_ENTRIES = 1 << 26


class UnitVectors:
    """Descriptors scaled to unit length.

    The rows are not copied: products are divided by the norms. The similarity of a
    row of zeros with any row is zero.

    Parameters
    ----------
    rows : ndarray or CSR matrix of shape (n_rows, n_features)
        Descriptors.
    """

    def __init__(self, rows: Any):
        self._rows = _without_empty_columns(rows) if sparse.issparse(rows) else rows
        squares = rows.power(2).sum(axis=1) if sparse.issparse(rows) else None
        if squares is None:
            squares = np.einsum("ij,ij->i", rows, rows)
        norms = np.sqrt(np.asarray(squares).ravel())
        self._inverse = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)

    @classmethod
    def in_row_space(cls, rows: Any) -> Self:
        """Reduce wide rows to their row space first, which pays for many products."""
        return cls(row_space_coordinates(rows))

    def __len__(self) -> int:
        return self._rows.shape[0]

    def similarities(self, rows: Any, others: np.ndarray) -> np.ndarray:
        """Return cosine similarities of rows (indices or a slice) with other rows.

        Parameters
        ----------
        rows : ndarray of int or slice
            First row of each pair.
        others : ndarray of int
            Second row of each pair.

        Returns
        -------
        ndarray of shape (n_rows, n_others)
        """
        scale = self._inverse[rows][:, None]
        if not sparse.issparse(self._rows):
            products = self._rows[rows] @ self._rows[others].T
        else:
            width = max(1, _BLOCK_ENTRIES // self._rows.shape[1])
            left = self._rows[rows]
            blocks = [
                left @ self._rows[others[start : start + width]].toarray().T
                for start in range(0, len(others), width)
            ]
            products = np.concatenate(blocks, axis=1)
        return products * scale * self._inverse[others]

    def weighted_sums(self, weights: np.ndarray) -> np.ndarray:
        """Sum the unit vectors with weights [rows, sums] -> [features, sums]."""
        weights = self._inverse[:, None] * weights
        return self._rows.T @ weights.astype(self._rows.dtype)

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """Multiply the unit vectors with vectors [features, k] -> [rows, k]."""
        return (self._rows @ vectors.astype(self._rows.dtype)) * self._inverse[:, None]


def _without_empty_columns(rows: Any) -> Any:
    rows = sparse.csr_array(rows)
    used, columns = np.unique(rows.indices, return_inverse=True)
    shape = (rows.shape[0], max(1, len(used)))
    return sparse.csr_array((rows.data, columns, rows.indptr), shape=shape)
