"""Base class of the splitters by similarity."""

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import BaseShuffleSplit
from sklearn.utils import check_random_state

from ._draw import warn_if_fraction_missed
from ._units import Units, count_train


class AbstractUnitSplit(BaseShuffleSplit):
    """Base class of splitters that select the test set unit by unit.

    A unit is a sample, or a group where `groups` are given. Subclasses select the
    units; sizes, groups and the seed are handled here.
    """

    # Makes scikit-learn's metadata routing pass `groups` to `split`.
    __metadata_request__split = {"groups": True}

    @abstractmethod
    def _select_test_units(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        """Return the indices of units that have about `n_test` samples in total."""

    def _iter_indices(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Generator[tuple[np.ndarray, np.ndarray], Any, None]:
        units = Units.of(X, groups)
        if len(units.sizes) < 2:
            what = "sample" if groups is None else "group"
            raise ValueError(f"All of `X` is a single {what}: nothing to split.")
        n_samples = len(units.unit_of_sample)
        n_test = n_samples - count_train(n_samples, self.train_size, self.test_size)
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            test_units = self._select_test_units(units, n_test, rng)
            in_test = np.isin(units.unit_of_sample, test_units)
            if groups is not None:
                warn_if_fraction_missed(
                    "test", "groups", units.sizes, in_test.mean(), n_test / n_samples
                )
            yield np.flatnonzero(~in_test), np.flatnonzero(in_test)
