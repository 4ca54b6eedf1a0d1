"""What the splits by similarity share: sizes, groups and seed."""

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import BaseShuffleSplit
from sklearn.utils import check_random_state

from ._draw import warn_if_poor
from ._units import Units, count_train


class UnitSplit(BaseShuffleSplit):
    """Tests on units: samples, or whole groups where `groups` are given.

    A final class says on which; sizes, groups and the seed are handled here.
    """

    # Groups are used when given; scikit-learn then routes them here.
    __metadata_request__split = {"groups": True}

    @abstractmethod
    def _tested(
        self, units: Units, n_test: int, rng: np.random.RandomState
    ) -> Sequence[int]:
        """Choose units whose samples number `n_test`, or as nearly as whole ones do."""

    def _iter_indices(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Generator[tuple[np.ndarray, np.ndarray], Any, None]:
        units = Units.of(X, groups)
        if len(units.sizes) < 2:
            what = "sample" if groups is None else "group"
            raise ValueError(f"All of `X` is a single {what}: nothing to split.")
        n_samples = len(units.members)
        n_test = n_samples - count_train(n_samples, self.train_size, self.test_size)
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            in_test = np.isin(units.members, self._tested(units, n_test, rng))
            if groups is not None:
                share = n_test / n_samples
                warn_if_poor("test", "groups", units.sizes, in_test.mean(), share)
            yield np.flatnonzero(~in_test), np.flatnonzero(in_test)
