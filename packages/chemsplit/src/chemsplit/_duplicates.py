"""Structures that are on both sides of a cut."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.metrics import pairwise_distances_argmin_min

# Of cosines in single precision.
_ROUNDING = 1e-5


def duplicates(
    X: Any,
    train: np.ndarray,
    test: np.ndarray,
    most_similar: tuple[np.ndarray, np.ndarray],
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the test structures that training holds too.

    Rows that differ by a share t of their length have a cosine above 1 - t². The most
    similar training row may be a longer or shorter one of the same direction, so where
    it is no duplicate the nearest one is looked up.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Descriptors.
    train, test : ndarray of int
        Rows of each part.
    most_similar : tuple of ndarray
        Cosine of each test row with the most similar training row, and that row.
    tolerance : float
        Difference of duplicates, relative to their length.

    Returns
    -------
    twins, others : ndarray of int
        Rows of test structures, and of their duplicates in training.
    """
    across, partners = most_similar
    near = across > 1 - max(tolerance**2, _ROUNDING)
    twins, others = test[near], partners[near]
    unlike = _difference(X, twins, others) >= tolerance
    if unlike.any():
        nearest, _ = pairwise_distances_argmin_min(X[twins[unlike]], X[train])
        others[unlike] = train[nearest]
    same = _difference(X, twins, others) < tolerance
    return twins[same], others[same]


def _difference(X: Any, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Relative length of the difference of rows, pair by pair, in double precision."""
    own = X[rows].astype(np.float64)
    gap = own - X[others]
    gaps, squares = (
        np.ravel((a.multiply(a) if sparse.issparse(a) else a * a).sum(axis=1))
        for a in (gap, own)
    )
    return np.sqrt(gaps / np.where(squares > 0, squares, 1))
