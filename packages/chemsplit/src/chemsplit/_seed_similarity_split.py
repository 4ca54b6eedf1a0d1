"""Split by similarity to one random sample, published as "maximal separation"."""

from collections.abc import Iterator, Sequence

import numpy as np

from ._unit_split import AbstractUnitSplit
from ._unit_vectors import UnitVectors
from ._units import Units, take_nearest_total


class SeedSimilaritySplit(AbstractUnitSplit):
    r"""Splitter whose test set is least similar to one random training sample.

    With the seed sample :math:`s` drawn at random, the test set is the samples with
    the smallest cosine similarities :math:`x_i \cdot x_s / |x_i| |x_s|`. This is what
    the published code for "maximal separation" computes, with the same random numbers:
    its list of training samples never grows, so its loop over all pairs is equivalent
    to one sort. `MaxMinSplit` compares with a growing list.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits, each from another seed sample.
    n_candidates : int, default=None
        If given, each test sample is the least similar one among this many candidates,
        drawn at random from the samples not yet selected: the published variant for
        large data sets (1000 or 3000), which adds some similar samples to the test
        set. None compares all samples.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given. With
        `groups`, whose mean descriptors are compared, the number of test samples is
        the closest possible one.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of the seed samples and the candidates.

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
        n_candidates: int | None = None,
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
        self.n_candidates = n_candidates

    def _select_test_units(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        n_units, vectors = len(units.sizes), UnitVectors(units.rows)
        if self.n_candidates is None:
            order = _by_similarity(vectors, rng.randint(n_units))
            return take_nearest_total(order, units.sizes, n_test)
        if self.n_candidates < 1:
            raise ValueError(
                f"`n_candidates` must be a positive number, got {self.n_candidates}."
            )
        # The published variant uses numpy.random.Generator, seeded with the integer.
        is_integer = isinstance(self.random_state, (int, np.integer))
        as_published = is_integer and self.n_splits == 1
        generator = np.random.default_rng(
            self.random_state if as_published else rng.randint(2**31)
        )
        seed = int(generator.integers(0, n_units))
        order = _by_similarity_among_candidates(
            vectors, seed, self.n_candidates, generator
        )
        return take_nearest_total(order, units.sizes, n_test)


def _by_similarity(vectors: UnitVectors, seed: int) -> Iterator[int]:
    """Iterate over all units but the seed, the least similar to it first."""
    similarity = vectors.similarities(slice(None), np.array([seed]))[:, 0]
    order = np.argsort(similarity, kind="stable")
    return iter(order[order != seed].tolist())


def _by_similarity_among_candidates(
    vectors: UnitVectors, seed: int, n_candidates: int, generator: np.random.Generator
) -> Iterator[int]:
    """Yield all units but the seed, each the least similar of random candidates."""
    similarity = vectors.similarities(slice(None), np.array([seed]))[:, 0]
    remaining = np.delete(np.arange(len(similarity)), seed)
    while len(remaining):
        candidates = np.arange(len(remaining))
        if len(remaining) > n_candidates:
            candidates = generator.choice(
                len(remaining), size=n_candidates, replace=False
            )
        index = candidates[np.argmin(similarity[remaining[candidates]])]
        yield int(remaining[index])
        remaining = np.delete(remaining, index)
