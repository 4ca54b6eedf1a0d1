"""Validation of descriptor matrices, and their reduction to the row space."""

from typing import Any

import numpy as np
from scipy import linalg, sparse
from sklearn.utils import check_array

# Above this number of rows the eigendecomposition costs more than it saves.
_MAX_ROWS = 4096
_COLUMN_BLOCK = 1024


def check_descriptors(X: Any) -> Any:
    """Return descriptors as a finite two-dimensional array or CSR matrix."""
    options: Any = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}
    return check_array(X, input_name="X", **options)


def row_space_coordinates(X: Any) -> Any:
    """Rewrite a wide matrix in coordinates of the space that its rows span.

    n rows span at most n dimensions. With the eigendecomposition of the Gram matrix,
    G = X X^T = V W V^T, the rows of V W^(1/2) have the same inner products as those of
    X, hence the same distances and cosines, in at most n columns.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_rows, n_features)
        Descriptors.

    Returns
    -------
    ndarray or sparse matrix of shape (n_rows, n_dimensions)
        `X` itself if it has no more columns than rows, or more than 4096 rows.
    """
    rows, features = X.shape
    if features <= rows or rows > _MAX_ROWS:
        return X
    weights, vectors = linalg.eigh(_gram(X))
    weights, vectors = weights[::-1], vectors[:, ::-1]
    nonzero = weights > weights[0] * rows * np.finfo(weights.dtype).eps
    return vectors[:, nonzero] * np.sqrt(weights[nonzero])


def _gram(X: Any) -> np.ndarray:
    """Return inner products of all rows in float64, in blocks of columns if sparse."""
    if not sparse.issparse(X):
        X = np.asarray(X, dtype=np.float64)
        return X @ X.T
    X = sparse.csc_array(X)
    gram = np.zeros((X.shape[0],) * 2)
    for start in range(0, X.shape[1], _COLUMN_BLOCK):
        block = X[:, start : start + _COLUMN_BLOCK].tocsr()
        rows = np.flatnonzero(np.diff(block.indptr))
        if len(rows):
            dense = block[rows].toarray().astype(np.float64)
            gram[np.ix_(rows, rows)] += dense @ dense.T
    return gram
