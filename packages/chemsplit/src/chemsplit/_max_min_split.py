"""Split by farthest-point (max-min) selection."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ._unit_split import AbstractUnitSplit
from ._unit_vectors import UnitVectors
from ._units import Units, take_nearest_total

# Rows that are updated together.
_BLOCK = 512


class MaxMinSplit(AbstractUnitSplit):
    r"""Splitter that selects mutually dissimilar samples as the test set.

    Starting from a random seed sample, each selected sample is the one whose largest
    similarity to the samples selected before (seed included) is smallest,

    .. math:: \arg\min_i \max_{p \in \mathrm{picked}} \cos(x_i, x_p).

    This is known as farthest-point or max-min selection; outliers and samples at the
    boundary of chemical space are selected first. The seed sample is in the training
    set. The matrix of all pairs is not computed, and a sample is compared with the
    latest picks only while it can still be the next one.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits, each from another seed sample.
    picked : {"test", "train"}, default="test"
        Set that the selected samples form. With "train" the seed sample and the
        selected ones are the training set, which then covers chemical space evenly, so
        that every test sample has a similar training sample: the easiest test set.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given. With
        `groups`, whose mean descriptors are compared, the number of test samples is
        the closest possible one.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of the seed samples.

    References
    ----------
    Kennard and Stone, Technometrics 11, 137 (1969).
    Gonzalez, Theor. Comput. Sci. 38, 293 (1985).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.2, 1.0]])
    >>> split = MaxMinSplit(test_size=0.25, random_state=0)
    >>> next(split.split(X))[1].tolist()  # farthest from the seed, sample 0
    [2]
    """

    def __init__(
        self,
        n_splits: int = 1,
        *,
        picked: Literal["test", "train"] = "test",
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
        self.picked = picked

    def _select_test_units(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        n_units = len(units.sizes)
        vectors = UnitVectors.in_row_space(units.rows)
        picks = farthest_points(vectors, rng.randint(n_units))
        if self.picked == "test":
            next(picks)  # the seed sample is in the training set
            return take_nearest_total(picks, units.sizes, n_test)
        if self.picked == "train":
            n_train = len(units.unit_of_sample) - n_test
            train = take_nearest_total(picks, units.sizes, n_train)
            return np.setdiff1d(np.arange(n_units), train).tolist()
        raise ValueError(f'`picked` must be "test" or "train", got {self.picked!r}.')


def farthest_points(vectors: UnitVectors, first: int) -> Iterator[int]:
    r"""Yield all rows in farthest-point order.

    Each row is the one least similar to all rows yielded before. A row's similarity to
    its nearest pick can only grow, so an earlier value is a lower bound. The rows with
    the lowest values are updated together, by one matrix product; picks are then made
    among them as long as no other row can be less similar. Rows in dense regions are
    soon close to a pick and are not updated again.

    Parameters
    ----------
    vectors : UnitVectors
        Rows to select from.
    first : int
        Index of the first row.

    Yields
    ------
    int
        Index of each row, once.
    """
    picks = np.full(len(vectors), first)
    n_picks = 1
    # Number of picks that each row was compared with, and its similarity to the
    # nearest of those.
    n_compared = np.zeros(len(vectors), dtype=np.int64)
    nearest = np.full(len(vectors), -np.inf)
    nearest[first] = np.inf
    yield first
    while n_picks < len(vectors):
        size = min(_BLOCK, len(vectors) - n_picks)
        order = np.argpartition(nearest, size)
        block, bound = np.sort(order[:size]), nearest[order[size]]
        _update(vectors, nearest, n_compared, picks[:n_picks], block)
        within_block = vectors.similarities(block, block)
        block_nearest = nearest[block]
        while n_picks < len(vectors) and block_nearest.min() <= bound:
            index = int(np.argmin(block_nearest))
            picks[n_picks] = block[index]
            n_picks += 1
            yield int(block[index])
            block_nearest = np.maximum(block_nearest, within_block[index])
            block_nearest[index] = np.inf
        nearest[block], n_compared[block] = block_nearest, n_picks


def _update(
    vectors: UnitVectors,
    nearest: np.ndarray,
    n_compared: np.ndarray,
    picks: np.ndarray,
    block: np.ndarray,
) -> None:
    """Compare the rows of a block with the picks made since their last update."""
    start = int(n_compared[block].min())
    if start < len(picks):
        similarity = vectors.similarities(block, picks[start:])
        nearest[block] = np.maximum(nearest[block], similarity.max(axis=1))
    n_compared[block] = len(picks)
