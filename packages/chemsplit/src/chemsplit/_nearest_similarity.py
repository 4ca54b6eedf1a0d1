"""Similarity of test and training structures to the nearest training structure."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils import check_consistent_length

from ._row_space import check_descriptors, row_space_coordinates

_CHUNK_MIB = 128
# Familiar shares below which a test set is separated or partly separated. It is 0.5 for
# a random split: half of the test structures have a similarity above the median.
_SEPARATED, _PARTLY_SEPARATED = 0.15, 0.35


@dataclass(frozen=True)
class SimilaritySummary:
    """Distribution of the cosine similarity to the nearest training structure.

    Parameters
    ----------
    mean, median : float
        Over all structures.
    low, high : float
        5 % and 95 % quantiles.
    """

    mean: float
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, similarities: np.ndarray) -> Self:
        """Summarize similarities, one per structure."""
        low, median, high = np.quantile(similarities, [0.05, 0.5, 0.95]).tolist()
        return cls(float(similarities.mean()), median, low, high)


@dataclass(frozen=True)
class Separation:
    """Separation of the test set from the training set, comparable between splits.

    Parameters
    ----------
    test_to_train : SimilaritySummary
        Similarity of each test structure to the nearest training structure.
    within_train : SimilaritySummary
        Similarity of each training structure to the nearest other one.
    familiar_share : float
        Fraction of test structures at least as similar to the training set as the
        median training structure is: 0.5 for a random split, 0 for full separation.
    """

    test_to_train: SimilaritySummary
    within_train: SimilaritySummary
    familiar_share: float

    @classmethod
    def of(cls, test_to_train: np.ndarray, within_train: np.ndarray) -> Self:
        """Summarize the similarities from `nearest_train_similarities`."""
        familiar_share = float(np.mean(test_to_train >= np.median(within_train)))
        return cls(
            SimilaritySummary.of(test_to_train),
            SimilaritySummary.of(within_train),
            familiar_share,
        )

    def __str__(self) -> str:
        verdict = "not separated"
        if self.familiar_share < _PARTLY_SEPARATED:
            separated = self.familiar_share < _SEPARATED
            verdict = "separated" if separated else "partly separated"
        return (
            f"The test set is {verdict}: {self.familiar_share:.0%} of its structures "
            "are as similar to the training set as the median training structure (50% "
            "for a random split). The median similarity to the nearest training "
            f"structure is {self.test_to_train.median:.4f} for test structures and "
            f"{self.within_train.median:.4f} for training structures."
        )


def separation(
    X: Any, train: ArrayLike, test: ArrayLike, *, groups: ArrayLike | None = None
) -> Separation:
    """Compare test and training structures by their nearest training structure.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `mean_soap`.
    train, test : array-like of int
        Rows of the training and the test set.
    groups : array-like of shape (n_samples,), default=None
        Group of each sample. Within the training set, neighbors of the same group are
        ignored; between test and training set they are not, since they are a leak.

    Returns
    -------
    Separation
        Computed in chunks of rows; the matrix of all pairs is never stored.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> separation(X, [0, 1], [2, 3]).familiar_share
    0.0
    >>> separation(X, [0, 2], [1, 3]).familiar_share
    1.0
    """
    return Separation.of(*nearest_train_similarities(X, train, test, groups)[:2])


def nearest_train_similarities(
    X: Any, train: ArrayLike, test: ArrayLike, groups: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the most similar training structure of each structure.

    Parameters
    ----------
    X, train, test, groups
        As in `separation`.

    Returns
    -------
    test_to_train : ndarray of shape (n_test,)
        Similarity of each test structure to the nearest training structure.
    within_train : ndarray of shape (n_train,)
        Similarity of each training structure to the nearest other one, of another
        group if there are groups.
    nearest : ndarray of shape (n_test,)
        Row of the training structure most similar to each test structure.
    """
    X = check_descriptors(X)
    train, test = np.asarray(train), np.asarray(test)
    if len(train) == 0 or len(test) == 0:
        raise ValueError(
            "Training and test set must not be empty, got "
            f"{len(train)} training and {len(test)} test structures."
        )
    group_of_row = np.arange(X.shape[0])
    if groups is not None:
        check_consistent_length(X, groups)
        group_of_row = np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(np.unique(group_of_row[train])) < 2:
        raise ValueError(
            "The training set is a single structure or group, so similarities within "
            "it are undefined."
        )
    X = row_space_coordinates(X)
    within_train, _ = _nearest(X[train], X[train], group_of_row[train])
    test_to_train, nearest = _nearest(X[test], X[train])
    return test_to_train, within_train, train[nearest]


def _nearest(
    rows: Any, others: Any, exclude: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity and the index of the nearest other row of each row.

    With `exclude`, a label for each row, rows of the same label are ignored.
    """

    def nearest(distances: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        if exclude is not None:
            labels = exclude[start : start + len(distances)]
            distances[labels[:, None] == exclude[None, :]] = np.inf
        indices = distances.argmin(axis=1)
        return distances[np.arange(len(indices)), indices], indices

    chunks = pairwise_distances_chunked(
        rows,
        others,
        metric="cosine",
        reduce_func=nearest,
        working_memory=_CHUNK_MIB,
    )
    distances, indices = map(np.concatenate, zip(*chunks, strict=True))
    return 1 - distances, indices
