"""Leakage report: what test and training set share, and how they differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ._chemistry import reduced_formulas, symbols
from ._duplicates import duplicates
from ._nearest_similarity import Separation, nearest_train_similarities
from ._row_space import check_descriptors
from ._split import abbreviate, unique_ids


@dataclass(frozen=True)
class SharedLabels:
    """Labels that occur in both sets: groups or reduced formulas.

    Parameters
    ----------
    labels : tuple of str
        Labels of structures in both sets.
    n_test : int
        Number of test structures with one of these labels.
    """

    labels: tuple[str, ...]
    n_test: int

    @classmethod
    def of(cls, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> Self:
        """Compare the labels of the two sets."""
        shared = np.intersect1d(labels[train], labels[test])
        n_test = int(np.isin(labels[test], shared).sum())
        return cls(tuple(map(str, shared)), n_test)


@dataclass(frozen=True)
class SizeSummary:
    """Distribution of the number of atoms per structure in one set.

    Parameters
    ----------
    smallest, largest : int
        Extremes.
    median : float
        Median.
    """

    smallest: int
    median: float
    largest: int

    @classmethod
    def of(cls, n_atoms: np.ndarray) -> Self:
        """Summarize numbers of atoms, one per structure."""
        return cls(int(n_atoms.min()), float(np.median(n_atoms)), int(n_atoms.max()))

    def __str__(self) -> str:
        return f"{self.smallest} to {self.largest}, median {self.median:g}"


@dataclass(frozen=True)
class Leakage:
    """Leakage report of a split, made by `leakage`.

    Its text is a table with a verdict. Fields that need `groups` or `numbers` are None
    where these were not given.

    Parameters
    ----------
    n_train, n_test : int
        Number of structures in each set.
    separation : Separation
        Similarities to the nearest training structure.
    duplicates : tuple of (str, str)
        Id of each test structure that is also in the training set, and its id there.
    groups : SharedLabels or None
        Groups in both sets.
    formulas : SharedLabels or None
        Reduced formulas in both sets.
    new_elements : dict of str to int, or None
        Elements that occur in the test set only, and the number of test structures
        with each.
    train_sizes, test_sizes : SizeSummary or None
        Numbers of atoms of the structures in each set.
    """

    n_train: int
    n_test: int
    separation: Separation
    duplicates: tuple[tuple[str, str], ...]
    groups: SharedLabels | None = None
    formulas: SharedLabels | None = None
    new_elements: dict[str, int] | None = None
    train_sizes: SizeSummary | None = None
    test_sizes: SizeSummary | None = None

    @property
    def verdict(self) -> str:
        """Summary in words: leaks, separation, new elements and sizes."""
        leaks = []
        if self.groups and self.groups.labels:
            count = self._with_percentage(self.groups.n_test)
            leaks.append(f"{count} share a group with a training structure")
        if self.duplicates:
            n_duplicates = len({test_id for test_id, _ in self.duplicates})
            count = self._with_percentage(n_duplicates)
            leaks.append(f"{count} are duplicates of training structures")
        summary = "No leak was found."
        if leaks:
            joined = " and ".join(leaks)
            summary = f"The training set leaks into the test set: {joined}."
        elif self.groups is None:
            summary = "No duplicates were found; groups were not given."
        sentences = [summary, str(self.separation)]
        if self.new_elements:
            elements = ", ".join(self._new_elements())
            sentences.append(f"Elements in the test set only: {elements}.")
        if self.train_sizes and self.test_sizes:
            largest = self.train_sizes.largest
            if self.test_sizes.smallest > largest:
                sentences.append(
                    "Every test structure is larger than all training structures."
                )
            elif self.test_sizes.largest > 1.5 * largest:
                sentences.append(
                    "The largest test structures are more than 1.5 times as large as "
                    "all training structures."
                )
        return " ".join(sentences)

    def _with_percentage(self, count: int) -> str:
        return f"{count} of {self.n_test} test structures ({count / self.n_test:.0%})"

    def _new_elements(self) -> list[str]:
        return [f"{e} (in {n})" for e, n in (self.new_elements or {}).items()]

    def __str__(self) -> str:
        head = "similarity to nearest in training set"
        lines = [
            f"{head:<40}{'5 %':>9}{'median':>9}{'95 %':>9}{'mean':>9}",
            *(
                f"  {name:<38}{s.low:9.4f}{s.median:9.4f}{s.high:9.4f}{s.mean:9.4f}"
                for name, s in (
                    (f"{self.n_test} test structures", self.separation.test_to_train),
                    (
                        f"{self.n_train} training structures",
                        self.separation.within_train,
                    ),
                )
            ),
            *(f"{name:<40}{text}" for name, text in self._rows()),
            "",
            self.verdict,
        ]
        return "\n".join(lines)

    def _rows(self) -> Iterable[tuple[str, str]]:
        pairs = [f"{test_id} = {train_id}" for test_id, train_id in self.duplicates]
        yield "duplicates in both sets", f"{len(pairs)}{_listed(pairs)}"
        for name, shared in (
            ("groups in both sets", self.groups),
            ("reduced formulas in both sets", self.formulas),
        ):
            if shared is None:
                yield name, "not checked"
            else:
                text = f"{len(shared.labels)}{_listed(shared.labels)}"
                count = self._with_percentage(shared.n_test)
                yield name, text + (f"; in {count}" if shared.labels else "")
        if self.new_elements is not None:
            yield (
                "elements in the test set only",
                ", ".join(self._new_elements()) or "none",
            )
        if self.train_sizes and self.test_sizes:
            yield "atoms per training structure", str(self.train_sizes)
            yield "atoms per test structure", str(self.test_sizes)


def _listed(labels: Sequence[str]) -> str:
    return f": {abbreviate(list(labels), quote=False)}" if labels else ""


def leakage(
    X: Any,
    train: ArrayLike,
    test: ArrayLike,
    ids: Iterable[Any] | None = None,
    groups: ArrayLike | None = None,
    *,
    numbers: Sequence[ArrayLike] | None = None,
    tolerance: float = 1e-3,
) -> Leakage:
    """Compare the test set of a split with its training set.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `describe`.
    train, test : array-like of int
        Rows of the training and the test set, as from `Split.indices`.
    ids : iterable, default=None
        Ids that duplicates are reported by; None for row numbers.
    groups : array-like of shape (n_samples,), default=None
        Groups that should be in one set only, such as the material of a frame; None
        skips this check.
    numbers : sequence of array-like of int, default=None
        Atomic numbers of each structure: ``[atoms.numbers for atoms in structures]``.
        None skips the comparison of reduced formulas, elements and sizes.
    tolerance : float, default=1e-3
        Two structures are duplicates if their descriptors differ by less than this,
        relative to their length.

    Returns
    -------
    Leakage
        Report that can be printed.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0]])
    >>> report = leakage(X, [0, 1], [2, 3], ids=["a", "b", "c", "d"])
    >>> report.duplicates
    (('d', 'a'),)
    """
    X = check_descriptors(X)
    train, test = np.asarray(train), np.asarray(test)
    test_to_train, within_train, nearest = nearest_train_similarities(
        X, train, test, groups
    )
    names = np.arange(X.shape[0]) if ids is None else unique_ids(ids, "`ids`")
    names = np.asarray(names).astype(str)
    _check_length(names, X, "ids")
    test_rows, train_rows = duplicates(
        X, train, test, (test_to_train, nearest), tolerance
    )
    pairs = zip(names[test_rows].tolist(), names[train_rows].tolist(), strict=True)
    report = Leakage(
        n_train=len(train),
        n_test=len(test),
        separation=Separation.of(test_to_train, within_train),
        duplicates=tuple(pairs),
        groups=(
            None if groups is None else SharedLabels.of(np.asarray(groups), train, test)
        ),
    )
    if numbers is None:
        return report
    _check_length(numbers, X, "numbers")
    return _with_chemistry(report, train, test, numbers)


def _check_length(given: Sequence[Any] | np.ndarray, X: Any, name: str) -> None:
    if len(given) != X.shape[0]:
        raise ValueError(
            f"`{name}` must have one entry for each of the {X.shape[0]} rows of `X`, "
            f"got {len(given)}."
        )


def _with_chemistry(
    report: Leakage, train: np.ndarray, test: np.ndarray, numbers: Sequence[ArrayLike]
) -> Leakage:
    numbers = [np.asarray(atomic_numbers) for atomic_numbers in numbers]
    train_elements = np.unique(np.concatenate([numbers[i] for i in train]))
    new = [z for i in test for z in np.setdiff1d(numbers[i], train_elements)]
    elements, counts = np.unique(np.array(new, dtype=int), return_counts=True)
    n_atoms = np.array([len(atomic_numbers) for atomic_numbers in numbers])
    formulas = np.array(reduced_formulas(numbers))
    return replace(
        report,
        formulas=SharedLabels.of(formulas, train, test),
        new_elements=dict(zip(symbols(elements), counts.tolist(), strict=True)),
        train_sizes=SizeSummary.of(n_atoms[train]),
        test_sizes=SizeSummary.of(n_atoms[test]),
    )
