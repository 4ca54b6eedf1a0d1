"""From a splitter and a data set to a split that can be stored."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import check_consistent_length

from ._draw import draw_whole, warn_if_poor
from ._split import Split, unique_ids
from ._units import part_sizes


def make_split(
    splitter: Any,
    X: Any,
    ids: Iterable[Any],
    groups: ArrayLike | None = None,
    *,
    validation: float = 0.1,
    seed: int,
    name: str,
    settings: Mapping[str, Any] | None = None,
) -> Split:
    """Split a data set by id, with a validation part drawn at random.

    The data are sorted by id before the splitter sees them and groups are renumbered
    in that order, so neither the order of the file nor the names of the groups matter.
    The first split of the splitter is taken. Its training part then gives up the
    validation part: structures, or whole groups, in random order, cut where their
    number is nearest to the wanted share.

    Parameters
    ----------
    splitter : splitter with scikit-learn's API
        `ClusterSplit`, or scikit-learn's `ShuffleSplit` and `GroupShuffleSplit`. It is
        not changed: a copy of it gets `seed` as its `random_state`.
    X : array-like, sparse matrix or None
        Descriptors, one row a structure; None if the splitter needs none.
    ids : iterable
        Id of each structure, unique; kept as text.
    groups : array-like of shape (n_samples,), default=None
        Structures that must not be parted, such as frames of one material.
    validation : float, default=0.1
        Share of the training part; 0 for none.
    seed : int
        Decides the split and the validation part.
    name : str
        What to call the split.
    settings : mapping, default=None
        What else to record, such as the settings of the descriptor.

    Returns
    -------
    Split
    """
    if not 0 <= validation < 1:
        raise ValueError(f"`validation` is a share in [0, 1), got {validation}.")
    names = unique_ids(ids, "`ids`")
    check_consistent_length(*(a for a in (X, names, groups) if a is not None))
    order = np.argsort(np.array(names), kind="stable")
    X = _rows(X, order)
    units = None if groups is None else _renumbered(np.asarray(groups)[order])
    seeded = _with_seed(splitter, seed)
    if isinstance(seeded, ShuffleSplit | GroupShuffleSplit):
        # Checked before, for scikit-learn names its own parameters.
        grouped = isinstance(seeded, GroupShuffleSplit) and units is not None
        number, what = (
            (len(set(units)), "groups") if grouped else (len(order), "samples")
        )
        part_sizes(number, seeded.train_size, seeded.test_size, what)
    train, test = next(iter(seeded.split(X, None, units)))
    if units is not None and np.intersect1d(units[train], units[test]).size:
        raise ValueError(
            f"{seeded} parts groups; use one that keeps them whole, such as "
            "scikit-learn's GroupShuffleSplit."
        )
    held = _draw_validation(train, units, validation, seed)
    unused = np.setdiff1d(np.arange(len(names)), np.concatenate([train, test]))
    train = np.setdiff1d(train, held)
    by_id = np.array(names)[order]
    return Split(
        train=tuple(by_id[train]),
        validation=tuple(by_id[held]),
        test=tuple(by_id[test]),
        unused=tuple(by_id[unused]),
        name=name,
        seed=seed,
        settings={
            **(settings or {}),
            "splitter": " ".join(repr(seeded).split()),  # repr breaks lines
            "validation": validation,
            "grouped": groups is not None,
        },
    )


def _rows(X: Any, order: np.ndarray) -> Any:
    if X is None:
        return np.empty((len(order), 0))
    return (X.tocsr() if sparse.issparse(X) else np.asarray(X))[order]


def _renumbered(groups: np.ndarray) -> np.ndarray:
    """Give groups numbers in the order of their first appearance."""
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[member]


def _with_seed(splitter: Any, seed: int) -> Any:
    """Copy the splitter, with the seed if it draws anything."""
    given = getattr(splitter, "random_state", seed)
    if given is not None and given != seed:
        raise ValueError(
            f"The splitter's random_state={given} and seed={seed} disagree; leave "
            "random_state unset."
        )
    seeded = copy.copy(splitter)
    if hasattr(seeded, "random_state"):
        seeded.random_state = seed
    return seeded


def _draw_validation(
    train: np.ndarray, units: np.ndarray | None, share: float, seed: int
) -> np.ndarray:
    """Draw the validation part from the training part, whole units at a time."""
    if share == 0:
        return train[:0]
    train = np.sort(train)
    unit = np.arange(len(train)) if units is None else _renumbered(units[train])
    sizes = np.bincount(unit)
    if len(sizes) < 2:
        raise ValueError(
            "The training part is a single structure or group, so no validation part "
            "can be drawn from it: leave more of them to training, or make the split "
            "without a validation part."
        )
    rng = np.random.default_rng([seed, 1])  # not the splitter's own stream
    held = np.isin(unit, draw_whole(sizes, share * len(train), rng))
    if units is not None:
        warn_if_poor("validation", "groups", sizes, held.mean(), share)
    return train[held]
