"""The splitters of bench, and what those of other packages must have."""

import fnmatch
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from chemsplit import (
    ClusterSplit,
    MaxMinSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
)
from sklearn.model_selection import GroupShuffleSplit

from bench.exceptions import BenchError
from bench.settings.splitting import SplitSettings

Needs = Literal["descriptors", "sizes", "total_charges", "ids", "nothing"]
"""What a splitter gets as `X`, one row per structure: descriptors, of shape
(structures, features); or numbers of atoms, total charges (e) or ids, of shape
(structures, 1); or an empty array. Descriptors are computed only if they are needed."""


class InstalledSplitter(Protocol):
    """What an entry point of the group `bench.splitters` names, such as a class.

    A class of splitters has `needs` as a class attribute and `from_settings` as a class
    method; `bench.make_split` takes its objects too.
    """

    @property
    def needs(self) -> Needs:
        """What its splitters get as `X`."""
        ...

    def from_settings(self, settings: SplitSettings, n_groups: int) -> Any:
        """Returns an object with the method `split` of scikit-learn's splitters.

        `split(X, y, groups)` yields the row indices of training and test set; the first
        pair is used. Groups must not be divided. If the object has an attribute
        `random_state`, it is set to the seed.

        Args:
            settings: of the grid; `test_fraction` is the size of the test set.
            n_groups: number of groups of the data.
        """
        ...


class _Splitter(NamedTuple):
    """A splitter of scikit-learn or chemsplit, made from settings."""

    needs: Needs
    make: Callable[[SplitSettings, int], Any]

    def from_settings(self, settings: SplitSettings, n_groups: int) -> Any:
        """Returns the splitter; see `InstalledSplitter`."""
        return self.make(settings, n_groups)


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


class ChargeSplit(PredefinedTestSplit):
    """Splitter whose test set is the charged structures."""

    def __init__(self):
        super().__init__(
            "The charge split needs neutral and charged structures, but all are {}: "
            "choose another split.",
            "charged",
            "neutral",
        )

    def __repr__(self):
        return "ChargeSplit()"

    def split(self, X, y=None, groups=None):
        """Yields the only split.

        Args:
            X: total charges, e.
            y: ignored.
            groups: see `PredefinedTestSplit`.
        """
        return super().split(np.round(X), y, groups)


class NamedSplit(PredefinedTestSplit):
    """Splitter whose test set is the structures whose ids match a pattern.

    Args:
        pattern: such as `*_val/*`.
    """

    def __init__(self, pattern: str):
        super().__init__(
            "The test set of the named split is the ids that match split.test_ids, but "
            "{} do: give another pattern.",
            "all",
            "none",
        )
        self.pattern = pattern

    def __repr__(self):
        return f"NamedSplit({self.pattern!r})"

    def split(self, X, y=None, groups=None):
        """Yields the only split.

        Args:
            X: ids.
            y: ignored.
            groups: see `PredefinedTestSplit`.
        """
        matches = [fnmatch.fnmatchcase(str(id), self.pattern) for id in np.ravel(X)]
        return super().split(np.array(matches), y, groups)


def _by_similarity(splitter: Callable[..., Any]) -> _Splitter:
    make = lambda settings, _: splitter(1, test_size=settings.test_fraction)
    return _Splitter("descriptors", make)


def _size_split(settings: SplitSettings, n_groups: int) -> SizeSplit:
    del n_groups
    if settings.max_train:
        return SizeSplit(max_train=settings.max_train)
    return SizeSplit(test_size=settings.test_fraction)


def _cluster_split(settings: SplitSettings, n_groups: int) -> ClusterSplit:
    return ClusterSplit(
        1,
        n_clusters=min(settings.clusters, n_groups),
        fraction_of=settings.fraction_of,
        test_size=settings.test_fraction,
    )


RANDOM = _Splitter(
    "nothing",
    lambda settings, _: GroupShuffleSplit(1, test_size=settings.test_fraction),
)
CLUSTER = _Splitter("descriptors", _cluster_split)
SIZE = _Splitter("sizes", _size_split)
SEED_SIMILARITY = _by_similarity(SeedSimilaritySplit)
MAX_MIN = _by_similarity(MaxMinSplit)
SEPARATED = _by_similarity(SeparatedSplit)
CHARGE = _Splitter("total_charges", lambda settings, _: ChargeSplit())
NAMED = _Splitter("ids", lambda settings, _: NamedSplit(settings.test_ids or ""))
