"""Split with the least similarity between test and training set."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ._unit_split import AbstractUnitSplit
from ._unit_vectors import UnitVectors
from ._units import Units, take_nearest_total

_MAX_ITERATIONS = 200


class SeparatedSplit(AbstractUnitSplit):
    r"""Splitter that minimizes the similarity between test and training set.

    With ``criterion="mean"`` the mean cosine similarity of all pairs of a test sample
    and a training sample,

    .. math:: \frac{1}{n_T n_R} \sum_{i \in T} \sum_{j \in R} \cos(x_i, x_j)
        = \frac{t \cdot r}{n_T n_R},

    is minimized, where :math:`t` and :math:`r` are the sums of the unit vectors of
    test and training set, so that pairs are never enumerated. For sets of fixed size,
    selecting the samples with the largest components along :math:`t - r` as the test
    set never increases it. This is iterated from random initial directions, and the
    best result is used.

    With ``criterion="nearest"`` the training set grows from a random sample: the sample
    most similar to any training sample is added repeatedly, so that the remaining
    samples, which are the test set, have no close neighbor in the training set. The
    cost is one matrix-vector product per training sample.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits. Both criteria tend to give the same split from any seed.
    criterion : {"mean", "nearest"}, default="mean"
        Similarity that is minimized: the mean over all pairs of a test and a training
        sample, or that of each test sample to the nearest training sample.
    n_init : int, default=10
        Number of random initializations for ``criterion="mean"``.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given. With
        `groups`, whose mean descriptors are compared, the number of test samples is
        the closest possible one.
    random_state : int, RandomState instance or None, default=None
        Seed of the initializations.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [0.1, 1.0], [1.0, 0.1], [0.0, 1.0]])
    >>> split = SeparatedSplit(test_size=0.5, random_state=0)
    >>> train, test = next(split.split(X))
    >>> sorted(map(sorted, (train.tolist(), test.tolist())))
    [[0, 2], [1, 3]]
    """

    def __init__(
        self,
        n_splits: int = 1,
        *,
        criterion: Literal["mean", "nearest"] = "mean",
        n_init: int = 10,
        test_size: float | int | None = None,
        train_size: float | int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        super().__init__(
            n_splits,
            test_size=test_size,
            train_size=train_size,
            random_state=random_state,
        )
        self.criterion = criterion
        self.n_init = n_init

    def _select_test_units(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        vectors = UnitVectors.in_row_space(units.rows)
        n_units = len(units.sizes)
        if self.criterion == "mean":
            if self.n_init < 1:
                raise ValueError(
                    f"`n_init` must be a positive number, got {self.n_init}."
                )
            initial = rng.normal(size=(n_units, self.n_init))
            return _minimize_mean(vectors, units.sizes, n_test, initial)
        if self.criterion == "nearest":
            n_train = len(units.unit_of_sample) - n_test
            order = prim_order(vectors, rng.randint(n_units))
            train = take_nearest_total(order, units.sizes, n_train)
            return np.setdiff1d(np.arange(n_units), train).tolist()
        raise ValueError(
            f'`criterion` must be "mean" or "nearest", got {self.criterion!r}.'
        )


def _minimize_mean(
    vectors: UnitVectors, sizes: np.ndarray, n_test: int, initial: np.ndarray
) -> list[int]:
    """Minimize the mean similarity between test and training set.

    Parameters
    ----------
    vectors : UnitVectors
        Descriptors, one row per unit.
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    n_test : int
        Requested number of test samples.
    initial : ndarray of shape (n_units, n_init)
        Weights of the units in the initial directions.

    Returns
    -------
    list of int
        Units of the test set with the smallest mean similarity of all
        initializations.
    """
    weights = sizes.astype(np.float64)
    total = vectors.weighted_sums(weights[:, None])
    directions = vectors.weighted_sums(initial)
    lowest, best = np.inf, []
    previous = np.full(initial.shape[1], np.inf)
    for _ in range(_MAX_ITERATIONS):
        components = vectors.products(directions)
        test_sets = [_largest(column, sizes, n_test) for column in components.T]
        in_test = np.zeros_like(components, dtype=np.float64)
        for column, test_units in zip(in_test.T, test_sets, strict=True):
            column[test_units] = weights[test_units]
        test_sums, n_in_test = vectors.weighted_sums(in_test), in_test.sum(axis=0)
        means = np.sum(test_sums * (total - test_sums), axis=0, dtype=np.float64)
        means /= n_in_test * (weights.sum() - n_in_test)
        if means.min() < lowest:
            lowest, best = means.min(), test_sets[int(np.argmin(means))]
        improved = means < previous
        if not improved.any():
            break
        previous, directions = means[improved], (2 * test_sums - total)[:, improved]
    return best


def _largest(components: np.ndarray, sizes: np.ndarray, n_test: int) -> list[int]:
    """Return the units with the largest components along a direction."""
    order = np.argsort(-components, kind="stable")
    return take_nearest_total(iter(order.tolist()), sizes, n_test)


def prim_order(vectors: UnitVectors, first: int) -> Iterator[int]:
    """Yield all rows in the order of Prim's algorithm for the minimum spanning tree.

    Each row is the one most similar to any row yielded before.

    Parameters
    ----------
    vectors : UnitVectors
        Rows to order.
    first : int
        Index of the first row.

    Yields
    ------
    int
        Index of each row, once.
    """
    nearest = np.full(len(vectors), -np.inf)
    remaining = np.ones(len(vectors), dtype=bool)
    row = first
    while True:
        remaining[row] = False
        yield row
        if not remaining.any():
            return
        similarity = vectors.similarities(slice(None), np.array([row]))[:, 0]
        nearest = np.maximum(nearest, similarity)
        row = int(np.argmax(np.where(remaining, nearest, -np.inf)))
