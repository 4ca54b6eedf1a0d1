"""What a split moves as one: samples, or whole groups of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_consistent_length

from ._coordinates import as_rows


@dataclass(frozen=True)
class Units:
    """Samples, or groups of them, that stay on one side of a cut.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (n_units, n_features)
        Descriptor of each unit: of a group, the mean of its samples.
    members : ndarray of shape (n_samples,)
        Unit of each sample.
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    """

    rows: Any
    members: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, X: Any, groups: ArrayLike | None = None) -> Self:
        """Take each sample, or each group where there are groups, as a unit."""
        X = as_rows(X)
        if groups is None:
            n_samples = X.shape[0]
            return cls(X, np.arange(n_samples), np.ones(n_samples, dtype=np.int64))
        members, sizes = group_members(X, groups)
        # 32-bit indices: scikit-learn's K-means takes no others
        places = (members.astype(np.int32), np.arange(len(members), dtype=np.int32))
        entries = (1 / sizes[members], places)
        means = csr_array(entries, shape=(len(sizes), len(members))).astype(X.dtype)
        return cls(means @ X, members, sizes)


def group_members(X: Any, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Give each group a number: those of the samples, and the sizes of the groups."""
    check_consistent_length(X, groups)
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    return members, np.bincount(members)


def part_sizes(
    n_units: int,
    train_size: float | int | None,
    test_size: float | int | None,
    what: str = "samples",
) -> tuple[int, int]:
    """Count the units that train and test by scikit-learn's rules, in our own words."""
    rules = ShuffleSplit(1, test_size=test_size, train_size=train_size)
    try:
        train, test = next(rules.split(np.empty((n_units, 1))))
    except ValueError as error:
        sizes = {"test_size": test_size, "train_size": train_size}
        given = ", ".join(f"{k}={v}" for k, v in sizes.items() if v is not None)
        raise ValueError(
            f"{n_units} {what if n_units != 1 else what.removesuffix('s')} cannot be "
            f"cut into a training and a test part{f' with {given}' if given else ''}: "
            "each needs at least one, and sizes are shares between 0 and 1 or whole "
            "numbers."
        ) from error
    return len(train), len(test)


def count_train(
    n_units: int, train_size: float | int | None, test_size: float | int | None
) -> int:
    """Apply scikit-learn's rules of sizes, where no unit may be left over."""
    train, test = part_sizes(n_units, train_size, test_size)
    if train + test < n_units - 1:  # rounding may leave one
        raise ValueError(
            f"Every sample trains or tests, but train_size={train_size} and "
            f"test_size={test_size} leave some over; give one of the two."
        )
    return n_units - test


def take_nearest(order: Iterator[int], sizes: np.ndarray, wanted: int) -> list[int]:
    """Take units as they come, until another would lead away from the wanted number.

    At least one unit is taken and at least one is left.
    """
    taken, total = [next(order)], 0
    total += sizes[taken[0]]
    while len(taken) < len(sizes) - 1 and total < wanted:
        unit = next(order)
        if total + sizes[unit] - wanted >= wanted - total:
            break
        taken.append(unit)
        total += sizes[unit]
    return taken
