"""Farthest-point sampling: each sample as far as can be from all picked before."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ._directions import Directions
from ._unit_split import UnitSplit
from ._units import Units, take_nearest

# Most rows brought up to date together.
_BLOCK = 512


class MaxSeparationSplit(UnitSplit):
    r"""Tests on samples that are as dissimilar from one another as can be.

    From a random seed sample, each next test sample is the one whose most similar
    sample among those picked before (the seed included) is least similar,

    .. math:: \arg\min_i \max_{p \in \mathrm{picked}} \cos(x_i, x_p),

    known as farthest-point or max-min selection: outliers and the rims of chemical
    space come first. The seed sample itself trains. No matrix of all pairs is made,
    and a sample is compared with new picks only while it could still be the next one.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits, each from a seed sample of its own.
    picked : {"test", "train"}, default="test"
        Which part the selection makes. With "train" the seed and the picks train: a
        training part that covers chemical space evenly, and a test part of samples
        that all have a similar one there, the easiest test there is.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given. With
        `groups`, whose mean descriptors are compared, the cut falls where the number
        of test samples is nearest.
    random_state : int, RandomState instance or None, default=None
        Draws the seed samples.

    References
    ----------
    Kennard and Stone, Technometrics 11, 137 (1969).
    Gonzalez, Theor. Comput. Sci. 38, 293 (1985).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.2, 1.0]])
    >>> split = MaxSeparationSplit(test_size=0.25, random_state=0)
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

    def _tested(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        n_units = len(units.sizes)
        picks = farthest_points(Directions.compact(units.rows), rng.randint(n_units))
        if self.picked == "test":
            next(picks)  # the seed trains
            return take_nearest(picks, units.sizes, n_test)
        if self.picked == "train":
            n_train = len(units.members) - n_test
            train = take_nearest(picks, units.sizes, n_train)
            return np.setdiff1d(np.arange(n_units), train).tolist()
        raise ValueError(f'`picked` must be "test" or "train", got {self.picked!r}.')


def farthest_points(directions: Directions, first: int) -> Iterator[int]:
    r"""Yield a row, then each time the one least similar to all rows yielded before.

    A row's similarity to the nearest pick can only grow, so an old value is a lower
    bound. The rows with the lowest values are brought up to date together, in one
    product of matrices; then picks are made among them as long as none of the others
    can be less similar. Rows in crowded places are soon close to a pick and are never
    looked at again.

    Parameters
    ----------
    directions : Directions
        What to pick from.
    first : int
        The first row.

    Yields
    ------
    int
        All rows, once each.
    """
    picks = np.full(len(directions), first)
    n_picks = 1
    seen = np.zeros(len(directions), dtype=np.int64)  # picks a row was compared with
    nearest = np.full(len(directions), -np.inf)  # similarity to the nearest of those
    nearest[first] = np.inf
    yield first
    while n_picks < len(directions):
        size = min(_BLOCK, len(directions) - n_picks)
        order = np.argpartition(nearest, size)
        block, bound = np.sort(order[:size]), nearest[order[size]]
        _update(directions, nearest, seen, picks[:n_picks], block)
        among = directions.similarities(block, block)
        own = nearest[block]
        while n_picks < len(directions) and own.min() <= bound:
            place = int(np.argmin(own))
            picks[n_picks] = block[place]
            n_picks += 1
            yield int(block[place])
            own = np.maximum(own, among[place])
            own[place] = np.inf
        nearest[block], seen[block] = own, n_picks


def _update(
    directions: Directions,
    nearest: np.ndarray,
    seen: np.ndarray,
    picks: np.ndarray,
    block: np.ndarray,
) -> None:
    """Compare the rows of a block with the picks they have not seen."""
    start = int(seen[block].min())
    if start < len(picks):
        similarity = directions.similarities(block, picks[start:])
        nearest[block] = np.maximum(nearest[block], similarity.max(axis=1))
    seen[block] = len(picks)
