"""Application of a splitter to a data set, by id."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import check_consistent_length

from ._draw import draw_units, warn_if_fraction_missed
from ._split import Split, unique_ids
from ._units import set_sizes


def make_split(
    splitter: Any,
    X: Any,
    ids: Iterable[Any],
    groups: ArrayLike | None = None,
    *,
    validation_fraction: float = 0.1,
    seed: int,
    name: str,
    settings: Mapping[str, Any] | None = None,
) -> Split:
    """Split a data set by id, with a random validation set.

    The data are sorted by id first and groups are renumbered in that order, so the
    split depends neither on the order of the data nor on the names of the groups. The
    first split of the splitter is used. The validation set is then drawn from its
    training set: random structures, or random groups whose number of structures is
    closest to the requested fraction.

    Parameters
    ----------
    splitter : splitter with scikit-learn's API
        Such as `ClusterSplit`, or scikit-learn's `ShuffleSplit` and
        `GroupShuffleSplit`. It is not modified: a copy of it gets `seed` as its
        `random_state`.
    X : array-like, sparse matrix or None
        Descriptors, one row per structure; None if the splitter needs none.
    ids : iterable
        Id of each structure, unique; stored as text.
    groups : array-like of shape (n_samples,), default=None
        Group of each structure, such as the material of a frame. A group is in one set
        only. None if the structures are independent.
    validation_fraction : float, default=0.1
        Fraction of the training set that is used for validation; 0 for no validation
        set.
    seed : int
        Seed of the split and of the validation set.
    name : str
        Name of the split, such as its kind.
    settings : mapping, default=None
        Additional settings to store, such as those of the descriptor; None for none.

    Returns
    -------
    Split
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(
            "`validation_fraction` must be at least 0 and below 1, got "
            f"{validation_fraction}."
        )
    names = unique_ids(ids, "`ids`")
    check_consistent_length(*(a for a in (X, names, groups) if a is not None))
    order = np.argsort(np.array(names), kind="stable")
    X = _sorted_rows(X, order)
    group_of_row = None if groups is None else _renumber(np.asarray(groups)[order])
    seeded = _with_seed(splitter, seed)
    if isinstance(seeded, ShuffleSplit | GroupShuffleSplit):
        # Checked here because scikit-learn's message names its internal parameters.
        count, what = len(order), "samples"
        if isinstance(seeded, GroupShuffleSplit) and group_of_row is not None:
            count, what = len(set(group_of_row)), "groups"
        set_sizes(count, seeded.train_size, seeded.test_size, what)
    train, test = next(iter(seeded.split(X, None, group_of_row)))
    if (
        group_of_row is not None
        and np.intersect1d(group_of_row[train], group_of_row[test]).size
    ):
        raise ValueError(
            f"{type(seeded).__name__} divides groups between sets; use a splitter that "
            "respects them, such as scikit-learn's GroupShuffleSplit."
        )
    validation = _draw_validation(train, group_of_row, validation_fraction, seed)
    unused = np.setdiff1d(np.arange(len(names)), np.concatenate([train, test]))
    train = np.setdiff1d(train, validation)
    sorted_ids = np.array(names)[order]
    return Split(
        train=tuple(sorted_ids[train]),
        validation=tuple(sorted_ids[validation]),
        test=tuple(sorted_ids[test]),
        unused=tuple(sorted_ids[unused]),
        name=name,
        seed=seed,
        settings={
            **(settings or {}),
            "splitter": " ".join(repr(seeded).split()),  # without line breaks
            "validation_fraction": validation_fraction,
            "grouped": groups is not None,
        },
    )


def _sorted_rows(X: Any, order: np.ndarray) -> Any:
    if X is None:
        return np.empty((len(order), 0))
    return (X.tocsr() if sparse.issparse(X) else np.asarray(X))[order]


def _renumber(groups: np.ndarray) -> np.ndarray:
    """Renumber groups in the order of their first appearance."""
    _, first, index = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[index]


def _with_seed(splitter: Any, seed: int) -> Any:
    """Return a copy of the splitter, with the seed if it has a `random_state`."""
    given = getattr(splitter, "random_state", seed)
    if given is not None and given != seed:
        raise ValueError(
            f"The splitter's random_state={given} differs from seed={seed}; leave "
            "random_state unset."
        )
    seeded = copy.copy(splitter)
    if hasattr(seeded, "random_state"):
        seeded.random_state = seed
    return seeded


def _draw_validation(
    train: np.ndarray, group_of_row: np.ndarray | None, fraction: float, seed: int
) -> np.ndarray:
    """Draw the validation set from the training set, by structure or by group."""
    if fraction == 0:
        return train[:0]
    train = np.sort(train)
    if group_of_row is None:
        unit = np.arange(len(train))
    else:
        unit = _renumber(group_of_row[train])
    sizes = np.bincount(unit)
    if len(sizes) < 2:
        raise ValueError(
            "The training set is a single structure or group, so no validation set can "
            "be drawn from it: make the test set smaller, or leave out the validation "
            "set."
        )
    rng = np.random.default_rng([seed, 1])  # independent of the splitter's stream
    drawn = np.isin(unit, draw_units(sizes, fraction * len(train), rng))
    if group_of_row is not None:
        warn_if_fraction_missed("validation", "groups", sizes, drawn.mean(), fraction)
    return train[drawn]
