"""Training, validation and test sets of a run."""

import fnmatch
from collections.abc import Callable
from typing import Any, get_args

import chemsplit
import numpy as np
from chemsplit import (
    ClusterSplit,
    MaxMinSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
    Split,
)
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit

from bench.dataset.opening import Dataset
from bench.exceptions import BenchError
from bench.experiment.descriptors import descriptors_of
from bench.settings.grid import SplitKind, SplitSettings

DESCRIPTOR_SPLITS = ("cluster", "seed-similarity", "max-min", "separated")
"""Kinds of split that compare structures by their descriptors."""


class PredefinedTestSplit:
    """Splitter whose test set is given, one nonzero value per test structure.

    A group with a test structure is in the test set.

    Args:
        message: error message for an empty training or test set, with a placeholder.
        if_all: text for the placeholder if all structures are in the test set.
        if_none: text for the placeholder if none is.
    """

    def __init__(self, message: str, if_all: str, if_none: str):
        self.message, self.if_all, self.if_none = message, if_all, if_none

    def __repr__(self):
        return (
            f"PredefinedTestSplit({self.message!r}, {self.if_all!r}, {self.if_none!r})"
        )

    def split(self, X, y=None, groups=None):
        """Yields the only split.

        Args:
            X: one column, nonzero for test structures.
            y: ignored.
            groups: group of each structure; None if they are independent.

        Raises:
            BenchError: the training or the test set is empty.
        """
        del y
        in_test = np.ravel(X) != 0
        if groups is not None:
            in_test = np.isin(groups, np.asarray(groups)[in_test])
        if in_test.all() or not in_test.any():
            text = self.if_all if in_test.any() else self.if_none
            raise BenchError(self.message.format(text))
        yield np.flatnonzero(~in_test), np.flatnonzero(in_test)


def split_data(
    data: Dataset,
    kind: str,
    settings: SplitSettings,
    seed: int,
    descriptors: Callable[[Dataset], csr_matrix] = descriptors_of,
) -> Split:
    """Splits a data set by id, without dividing groups.

    Args:
        data: data set.
        kind: kind of split, see `SplitKind`.
        settings: fractions and settings of the kinds.
        seed: random seed of the split and of the validation set.
        descriptors: returns those of the data, [structures, features]; called only for
            `DESCRIPTOR_SPLITS`.

    Raises:
        BenchError: there are too few structures or groups.
    """
    n_groups = len(set(data.groups))
    _check_groups(data, n_groups, kind, settings)
    splitter = _splitter(kind, settings, n_groups)
    X, described_by = None, {}
    if kind == "size":
        X = data.sizes[:, None].astype(float)
    elif kind == "named":
        pattern = settings.test_ids or ""
        X = np.array([[fnmatch.fnmatchcase(id, pattern)] for id in data.ids], float)
    elif kind == "charge":
        X = np.round(data.total_charges)[:, None]
    elif kind in DESCRIPTOR_SPLITS:
        X, described_by = descriptors(data), {"descriptor": "mean-soap"}
    try:
        return chemsplit.make_split(
            splitter,
            X,
            data.ids,
            data.groups,
            validation_fraction=settings.validation_fraction,
            seed=seed,
            name=kind,
            settings={**described_by, **settings.model_dump()},
        )
    except ValueError as error:
        raise BenchError(f"The {kind} split cannot be made: {error}") from error


def make_split(
    dataset: Dataset,
    kind: str = "random",
    *,
    seed: int = 0,
    settings: SplitSettings | None = None,
) -> Split:
    """Splits a data set into training, validation and test sets; groups stay together.

    Args:
        dataset: data set, from `open_dataset`.
        kind: kind of split, such as `cluster`; see `splits` of a grid.
        seed: random seed of the split and of the validation set.
        settings: fractions and settings of the kinds; None for the defaults of a grid.

    Returns:
        Ids of the three sets. `split.save(path)` writes them,
        `split.indices(dataset.ids)` returns their row indices.

    Raises:
        BenchError: the kind is unknown, or the data cannot be split by it.

    Examples:
        >>> dataset = bench.open_dataset("mine.extxyz")
        >>> split = bench.make_split(dataset, "random", seed=1)
        >>> split.save("split.json")
        >>> train, validation, test = split.indices(dataset.ids)
    """
    kinds = get_args(SplitKind)
    if kind not in kinds:
        raise BenchError(f"There is no split {kind!r}: choose {', '.join(kinds)}.")
    return split_data(dataset, kind, settings or SplitSettings(), seed)


def _check_groups(
    data: Dataset, n_groups: int, kind: str, settings: SplitSettings
) -> None:
    """Raises BenchError if there are too few groups for three sets."""
    if n_groups < 3:
        what = "structure" if n_groups == len(data) else "group of structures"
        raise BenchError(
            f"{data.name} has {n_groups} {what}{'s' * (n_groups > 1)}, and a split "
            "needs at least three: for training, validation and test."
        )
    if kind in ("charge", "named") or (kind == "size" and settings.max_train):
        return
    # GroupShuffleSplit counts groups, the other splitters count structures.
    count, what = len(data), "structures"
    if kind == "random":
        count, what = n_groups, "groups"
    remaining = count - int(np.ceil(settings.test_fraction * count))
    if remaining < 2:
        raise BenchError(
            f"split.test_fraction={settings.test_fraction:g} leaves {remaining} of "
            f"{count} {what} for training and validation, which need one each: reduce "
            "it."
        )


def _splitter(kind: str, settings: SplitSettings, n_groups: int) -> Any:
    """Returns the splitter of a kind."""
    size = settings.test_fraction
    clusters = min(settings.clusters, n_groups)
    return {
        "random": lambda: GroupShuffleSplit(1, test_size=size),
        "cluster": lambda: ClusterSplit(
            1, n_clusters=clusters, fraction_of=settings.fraction_of, test_size=size
        ),
        "size": lambda: (
            SizeSplit(max_train=settings.max_train)
            if settings.max_train
            else SizeSplit(test_size=size)
        ),
        "seed-similarity": lambda: SeedSimilaritySplit(1, test_size=size),
        "max-min": lambda: MaxMinSplit(1, test_size=size),
        "separated": lambda: SeparatedSplit(1, test_size=size),
        "charge": lambda: PredefinedTestSplit(
            "The charge split needs neutral and charged structures, but all are {}: "
            "choose another split.",
            "charged",
            "neutral",
        ),
        "named": lambda: PredefinedTestSplit(
            "The test set of the named split is the ids that match split.test_ids, but "
            "{} do: give another pattern.",
            "all",
            "none",
        ),
    }[kind]()
