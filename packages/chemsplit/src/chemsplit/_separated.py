"""The cut across which structures are least similar."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ._directions import Directions
from ._unit_split import UnitSplit
from ._units import Units, take_nearest

_MOST_ROUNDS = 200


class SeparatedSplit(UnitSplit):
    r"""Tests on the part of chemical space that is least similar to the rest.

    With ``criterion="mean"`` the mean cosine similarity of all pairs across the cut,

    .. math:: \frac{1}{n_T n_R} \sum_{i \in T} \sum_{j \in R} \cos(x_i, x_j)
        = \frac{t \cdot r}{n_T n_R},

    is minimised, with :math:`t` and :math:`r` the sums of the unit vectors in the test
    part and in the rest, so that no pair is ever visited. For parts of fixed size
    moving the samples with the largest components along :math:`t - r` into the test
    part never raises it; the best end point of several random starts is taken.

    With ``criterion="nearest"`` the training part grows from a random sample, each time
    by the sample most similar to any in it, so that it is closed under neighbourhood:
    what is left for the test is what has no close neighbour in training. It takes one
    matrix-vector product for each training sample.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits. Both criteria tend to find the same cut from any seed.
    criterion : {"mean", "nearest"}, default="mean"
        Similarity that is kept small: the mean over all pairs across the cut, or that
        of each test sample to the nearest training sample.
    n_starts : int, default=10
        Number of random starts for the mean.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given. With
        `groups`, whose mean descriptors are compared, the cut falls where the number
        of test samples is nearest.
    random_state : int, RandomState instance or None, default=None
        Draws the starts.

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
        n_starts: int = 10,
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
        self.n_starts = n_starts

    def _tested(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        directions = Directions.compact(units.rows)
        if self.criterion == "mean":
            if self.n_starts < 1:
                raise ValueError(
                    f"`n_starts` must be a positive number, got {self.n_starts}."
                )
            starts = rng.normal(size=(len(units.sizes), self.n_starts))
            return _lowest_mean(directions, units.sizes, n_test, starts)
        if self.criterion == "nearest":
            n_train = len(units.members) - n_test
            train = _grow(directions, units.sizes, n_train, rng)
            return np.setdiff1d(np.arange(len(units.sizes)), train).tolist()
        raise ValueError(
            f'`criterion` must be "mean" or "nearest", got {self.criterion!r}.'
        )


def _lowest_mean(
    directions: Directions, sizes: np.ndarray, n_test: int, starts: np.ndarray
) -> list[int]:
    """Lower the mean similarity across the cut from all starts; return the best end.

    Parameters
    ----------
    directions : Directions
        One for each unit.
    sizes : ndarray of shape (n_units,)
        Samples in each unit.
    n_test : int
        Wanted number of test samples.
    starts : ndarray of shape (n_units, n_starts)
        Weights that make the first directions of the cuts.

    Returns
    -------
    list of int
        Units of the test part.
    """
    weights = sizes.astype(np.float64)
    everything = directions.total(weights[:, None])
    axes = directions.total(starts)
    lowest, best = np.inf, []
    means = np.full(starts.shape[1], np.inf)
    for _ in range(_MOST_ROUNDS):
        along = directions.along(axes)
        parts = [_along(column, sizes, n_test) for column in along.T]
        inside = np.zeros_like(along, dtype=np.float64)
        for column, part in zip(inside.T, parts, strict=True):
            column[part] = weights[part]
        tests, counts = directions.total(inside), inside.sum(axis=0)
        across = np.sum(tests * (everything - tests), axis=0, dtype=np.float64)
        across /= counts * (weights.sum() - counts)
        if across.min() < lowest:
            lowest, best = across.min(), parts[int(np.argmin(across))]
        falling = across < means
        if not falling.any():
            break
        means, axes = across[falling], (2 * tests - everything)[:, falling]
    return best


def _along(components: np.ndarray, sizes: np.ndarray, n_test: int) -> list[int]:
    """Take the units that lie farthest along an axis."""
    order = np.argsort(-components, kind="stable")
    return take_nearest(iter(order.tolist()), sizes, n_test)


def _grow(
    directions: Directions,
    sizes: np.ndarray,
    n_train: int,
    rng: np.random.RandomState,
) -> list[int]:
    """Grow a training part by its nearest neighbours."""
    order = nearest_first(directions, rng.randint(len(sizes)))
    return take_nearest(order, sizes, n_train)


def nearest_first(directions: Directions, first: int) -> Iterator[int]:
    """Yield a row, then each time the one most similar to any yielded before.

    This is Prim's order of the minimum spanning tree: rows joined by a chain of close
    neighbours come one after the other.
    """
    nearest = np.full(len(directions), -np.inf)
    left = np.ones(len(directions), dtype=bool)
    row = first
    while True:
        left[row] = False
        yield row
        if not left.any():
            return
        similarity = directions.similarities(slice(None), np.array([row]))[:, 0]
        nearest = np.maximum(nearest, similarity)
        row = int(np.argmax(np.where(left, nearest, -np.inf)))
