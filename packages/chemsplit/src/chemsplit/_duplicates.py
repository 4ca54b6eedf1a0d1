"""Duplicates between test and training set."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.metrics import pairwise_distances_argmin_min

# Rounding error of cosines in single precision.
_ROUNDING = 1e-5


def duplicates(
    X: Any,
    train: np.ndarray,
    test: np.ndarray,
    most_similar: tuple[np.ndarray, np.ndarray],
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find test structures that are also in the training set.

    Rows whose difference is a fraction t of their length have a cosine above 1 - t².
    The most similar training row may differ in length only, so where it is no
    duplicate, the nearest row by Euclidean distance is compared too.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Descriptors.
    train, test : ndarray of int
        Rows of the training and the test set.
    most_similar : tuple of ndarray
        Cosine of each test row with the most similar training row, and the index of
        that row.
    tolerance : float
        Largest difference of duplicates, relative to their length.

    Returns
    -------
    test_rows, train_rows : ndarray of int
        Rows of the duplicates in the test set, and of the same structures in the
        training set.
    """
    similarities, partners = most_similar
    close = similarities > 1 - max(tolerance**2, _ROUNDING)
    test_rows, train_rows = test[close], partners[close]
    different = _relative_difference(X, test_rows, train_rows) >= tolerance
    if different.any():
        nearest, _ = pairwise_distances_argmin_min(X[test_rows[different]], X[train])
        train_rows[different] = train[nearest]
    equal = _relative_difference(X, test_rows, train_rows) < tolerance
    return test_rows[equal], train_rows[equal]


def _relative_difference(X: Any, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the length of the difference of paired rows, relative to the first."""
    first = X[rows].astype(np.float64)
    difference = first - X[others]
    squared_differences, squares = (
        np.ravel((a.multiply(a) if sparse.issparse(a) else a * a).sum(axis=1))
        for a in (difference, first)
    )
    return np.sqrt(squared_differences / np.where(squares > 0, squares, 1))
