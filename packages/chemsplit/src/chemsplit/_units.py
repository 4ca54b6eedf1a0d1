"""Units of a split: single samples, or groups of samples that stay together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_consistent_length

from ._row_space import check_descriptors


@dataclass(frozen=True)
class Units:
    """Samples, or groups of samples, each of which is in one set of a split.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (n_units, n_features)
        Descriptor of each unit: for a group, the mean over its samples.
    unit_of_sample : ndarray of shape (n_samples,)
        Index of the unit of each sample.
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    """

    rows: Any
    unit_of_sample: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, X: Any, groups: ArrayLike | None = None) -> Self:
        """Make one unit of each group, or of each sample if there are no groups."""
        X = check_descriptors(X)
        if groups is None:
            n_samples = X.shape[0]
            return cls(X, np.arange(n_samples), np.ones(n_samples, dtype=np.int64))
        group_of_sample, sizes = group_indices(X, groups)
        # scikit-learn's K-means accepts sparse matrices with 32-bit indices only.
        samples = np.arange(len(group_of_sample), dtype=np.int32)
        entries = (
            1 / sizes[group_of_sample],
            (group_of_sample.astype(np.int32), samples),
        )
        averaging = csr_array(entries, shape=(len(sizes), len(samples))).astype(X.dtype)
        return cls(averaging @ X, group_of_sample, sizes)


def group_indices(X: Any, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the group of each sample, and the size of each group."""
    check_consistent_length(X, groups)
    _, group_of_sample = np.unique(np.asarray(groups), return_inverse=True)
    return group_of_sample, np.bincount(group_of_sample)


def set_sizes(
    n_units: int,
    train_size: float | int | None,
    test_size: float | int | None,
    what: str = "samples",
) -> tuple[int, int]:
    """Return the numbers of training and test units by scikit-learn's rules."""
    rules = ShuffleSplit(1, test_size=test_size, train_size=train_size)
    try:
        train, test = next(rules.split(np.empty((n_units, 1))))
    except ValueError as error:
        sizes = {"test_size": test_size, "train_size": train_size}
        given = ", ".join(f"{k}={v}" for k, v in sizes.items() if v is not None)
        raise ValueError(
            f"{n_units} {what if n_units != 1 else what.removesuffix('s')} cannot be "
            f"split into a training and a test set{f' with {given}' if given else ''}: "
            "each needs at least one, and sizes are fractions between 0 and 1 or "
            "numbers of samples."
        ) from error
    return len(train), len(test)


def count_train(
    n_units: int, train_size: float | int | None, test_size: float | int | None
) -> int:
    """Return the number of training units for a split that uses every unit."""
    train, test = set_sizes(n_units, train_size, test_size)
    if train + test < n_units - 1:  # rounding may leave one unit
        raise ValueError(
            f"This split uses every sample, but train_size={train_size} and "
            f"test_size={test_size} leave some unused; give one of the two."
        )
    return n_units - test


def take_nearest_total(
    order: Iterator[int], sizes: np.ndarray, n_samples: int
) -> list[int]:
    """Take units in order until their total size is closest to a number of samples.

    At least one unit is taken and at least one is not.

    Parameters
    ----------
    order : iterator of int
        Indices of the units.
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    n_samples : int
        Requested number of samples in the units taken.

    Returns
    -------
    list of int
        Indices of the units taken.
    """
    taken, total = [next(order)], 0
    total += sizes[taken[0]]
    while len(taken) < len(sizes) - 1 and total < n_samples:
        unit = next(order)
        if total + sizes[unit] - n_samples >= n_samples - total:
            break
        taken.append(unit)
        total += sizes[unit]
    return taken
