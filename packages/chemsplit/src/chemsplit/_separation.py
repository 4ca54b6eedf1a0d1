"""How far the test part lies from the training part."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils import check_consistent_length

from ._coordinates import as_rows, row_coordinates

_CHUNK_MIB = 128
# Random splits have 0.5: half the test structures lie nearer than the median.
_SEPARATED, _PARTLY = 0.15, 0.35


@dataclass(frozen=True)
class Similarities:
    """Cosine similarities of structures to the nearest of the training part.

    Parameters
    ----------
    mean, median : float
        Over all structures.
    low, high : float
        5 % lie below `low` and 5 % above `high`.
    """

    mean: float
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Summarise values, one a structure."""
        low, median, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
        return cls(float(values.mean()), median, low, high)


@dataclass(frozen=True)
class Separation:
    """Numbers that say whether a split separates, comparable between splits.

    Parameters
    ----------
    across : Similarities
        Of each test structure to the nearest training structure.
    within : Similarities
        Of each training structure to the nearest other one.
    familiar : float
        Share of test structures at least as similar to the training part as the median
        training structure is: 0.5 for a random split, 0 for full separation.
    """

    across: Similarities
    within: Similarities
    familiar: float

    @classmethod
    def of(cls, across: np.ndarray, within: np.ndarray) -> Self:
        """Summarise the similarities of `nearest_training`."""
        familiar = float(np.mean(across >= np.median(within)))
        return cls(Similarities.of(across), Similarities.of(within), familiar)

    def __str__(self) -> str:
        verdict = "not separated"
        if self.familiar < _PARTLY:
            verdict = "separated" if self.familiar < _SEPARATED else "partly separated"
        return (
            f"The test part is {verdict}: {self.familiar:.0%} of it is as similar to "
            "the training part as half of that part is to itself (50% for a random "
            f"split), with median similarity {self.across.median:.4f} across the cut "
            f"and {self.within.median:.4f} within."
        )


def separation(
    X: Any, train: ArrayLike, test: ArrayLike, *, groups: ArrayLike | None = None
) -> Separation:
    """Compare similarities across the cut with those inside the training part.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `mean_soap`.
    train, test : array-like of int
        Rows of each part.
    groups : array-like of shape (n_samples,), default=None
        Samples that belong together, which do not count as neighbours within the
        training part. Across the cut they do: that would be a leak.

    Returns
    -------
    Separation
        Computed in chunks of rows, never as one matrix of all pairs.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> separation(X, [0, 1], [2, 3]).familiar
    0.0
    >>> separation(X, [0, 2], [1, 3]).familiar
    1.0
    """
    return Separation.of(*nearest_training(X, train, test, groups)[:2])


def nearest_training(
    X: Any, train: ArrayLike, test: ArrayLike, groups: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the most similar training structure of each structure.

    Parameters
    ----------
    X, train, test, groups
        As in `separation`.

    Returns
    -------
    across : ndarray of shape (n_test,)
        Similarity of each test structure to it.
    within : ndarray of shape (n_train,)
        Similarity of each training structure to another one, of another group.
    partners : ndarray of shape (n_test,)
        Row of the training structure most similar to each test structure.
    """
    X = as_rows(X)
    train, test = np.asarray(train), np.asarray(test)
    if len(train) == 0 or len(test) == 0:
        raise ValueError(
            f"Both parts need structures, got {len(train)} for training and "
            f"{len(test)} for the test."
        )
    apart = np.arange(X.shape[0])
    if groups is not None:
        check_consistent_length(X, groups)
        apart = np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(np.unique(apart[train])) < 2:
        raise ValueError(
            "The training part is a single structure or group, so there is nothing to "
            "compare with inside it."
        )
    X = row_coordinates(X)
    within, _ = _nearest(X[train], X[train], apart[train])
    across, partners = _nearest(X[test], X[train])
    return across, within, train[partners]


def _nearest(
    rows: Any, others: Any, apart: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest other of each row; rows that share `apart` are none."""

    def nearest(distances: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        if apart is not None:
            own = apart[start : start + len(distances)]
            distances[own[:, None] == apart[None, :]] = np.inf
        places = distances.argmin(axis=1)
        return distances[np.arange(len(places)), places], places

    chunks = pairwise_distances_chunked(
        rows,
        others,
        metric="cosine",
        reduce_func=nearest,
        working_memory=_CHUNK_MIB,
    )
    distances, places = map(np.concatenate, zip(*chunks, strict=True))
    return 1 - distances, places
