"""Rows of descriptors: what is accepted, and fewer columns of the same geometry."""

from typing import Any

import numpy as np
from scipy import linalg, sparse
from sklearn.utils import check_array

# Above this many rows the eigenproblem costs more than it saves.
_MOST_ROWS = 4096
_COLUMNS_AT_ONCE = 1024


def as_rows(X: Any) -> Any:
    """Check descriptors: finite numbers in two dimensions, dense or CSR."""
    options: Any = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}
    return check_array(X, input_name="X", **options)


def row_coordinates(X: Any) -> Any:
    """Rewrite a wide matrix in the space its rows span.

    n rows span at most n dimensions, so a wide matrix has n columns' worth of
    geometry: with the eigenpairs of the Gram matrix, G = X X^T = V W V^T, the rows of
    V W^(1/2) have the same inner products, hence the same distances and cosines.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_rows, n_features)
        What K-means, PCA or similarities are to work on.

    Returns
    -------
    ndarray or sparse matrix of shape (n_rows, n_dimensions)
        `X` itself where it is not wide, or has too many rows for this to pay.
    """
    rows, features = X.shape
    if features <= rows or rows > _MOST_ROWS:
        return X
    weights, vectors = linalg.eigh(_gram(X))
    weights, vectors = weights[::-1], vectors[:, ::-1]
    kept = weights > weights[0] * rows * np.finfo(weights.dtype).eps
    return vectors[:, kept] * np.sqrt(weights[kept])


def _gram(X: Any) -> np.ndarray:
    """Inner products of all rows, float64, a few columns of a sparse matrix a time."""
    if not sparse.issparse(X):
        X = np.asarray(X, dtype=np.float64)
        return X @ X.T
    X = sparse.csc_array(X)
    gram = np.zeros((X.shape[0],) * 2)
    for start in range(0, X.shape[1], _COLUMNS_AT_ONCE):
        block = X[:, start : start + _COLUMNS_AT_ONCE].tocsr()
        rows = np.flatnonzero(np.diff(block.indptr))
        if len(rows):
            dense = block[rows].toarray().astype(np.float64)
            gram[np.ix_(rows, rows)] += dense @ dense.T
    return gram
