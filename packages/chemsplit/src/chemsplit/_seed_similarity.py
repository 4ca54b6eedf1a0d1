"""The published "maximal separation": what is least similar to one random sample."""

from collections.abc import Iterator, Sequence

import numpy as np

from ._directions import Directions
from ._unit_split import UnitSplit
from ._units import Units, take_nearest


class SeedSimilaritySplit(UnitSplit):
    r"""Tests on the samples least similar to one random training sample.

    With the seed sample :math:`s` drawn at random, the test part holds the samples with
    the smallest cosine similarities :math:`x_i \cdot x_s / |x_i| |x_s|`. This is what
    the published code for "maximal separation" computes, with the same draws: its
    list of training samples never grows, so its loop over all pairs is one sort.
    `MaxSeparationSplit` compares with a list that grows.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits, each from a seed sample of its own.
    candidates : int, default=None
        If given, each test sample is the least similar one among this many, drawn
        anew each time from those left: the published variant for large sets (1000 or
        3000). It mixes some similar samples into the test part.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given. With
        `groups`, whose mean descriptors are compared, the cut falls where the number
        of test samples is nearest.
    random_state : int, RandomState instance or None, default=None
        Draws the seed samples and the candidates.

    References
    ----------
    Sanocki and Zavadlav, arXiv:2512.10989 (2025).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> split = SeedSimilaritySplit(test_size=0.5, random_state=0)
    >>> train, test = next(split.split(X))
    >>> train.tolist(), test.tolist()
    ([0, 1], [2, 3])
    """

    def __init__(
        self,
        n_splits: int = 1,
        *,
        candidates: int | None = None,
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
        self.candidates = candidates

    def _tested(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        n_units, directions = len(units.sizes), Directions(units.rows)
        if self.candidates is None:
            order = _least_similar(directions, rng.randint(n_units))
            return take_nearest(order, units.sizes, n_test)
        if self.candidates < 1:
            raise ValueError(
                f"`candidates` must be a positive number, got {self.candidates}."
            )
        # The published variant draws from NumPy's newer generator.
        integer = isinstance(self.random_state, (int, np.integer))
        fresh = integer and self.n_splits == 1
        draws = np.random.default_rng(
            self.random_state if fresh else rng.randint(2**31)
        )
        seed = int(draws.integers(0, n_units))
        order = _least_of_candidates(directions, seed, self.candidates, draws)
        return take_nearest(order, units.sizes, n_test)


def _least_similar(directions: Directions, seed: int) -> Iterator[int]:
    similarity = directions.similarities(slice(None), np.array([seed]))[:, 0]
    order = np.argsort(similarity, kind="stable")
    return iter(order[order != seed].tolist())


def _least_of_candidates(
    directions: Directions, seed: int, candidates: int, draws: np.random.Generator
) -> Iterator[int]:
    """Yield the least similar unit of a random few until the seed alone is left."""
    similarity = directions.similarities(slice(None), np.array([seed]))[:, 0]
    left = np.delete(np.arange(len(similarity)), seed)
    while len(left):
        places = np.arange(len(left))
        if len(left) > candidates:
            places = draws.choice(len(left), size=candidates, replace=False)
        place = places[np.argmin(similarity[left[places]])]
        yield int(left[place])
        left = np.delete(left, place)
