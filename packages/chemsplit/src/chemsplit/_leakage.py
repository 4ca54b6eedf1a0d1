"""What a test part shares with its training part, and what is new in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ._chemistry import compositions, symbols
from ._coordinates import as_rows
from ._duplicates import duplicates
from ._separation import Separation, nearest_training
from ._split import some, unique_ids


@dataclass(frozen=True)
class Shared:
    """Labels that occur on both sides of the cut: groups or compositions.

    Parameters
    ----------
    labels : tuple of str
        Those on both sides.
    n_test : int
        Number of test structures that have one of them.
    """

    labels: tuple[str, ...]
    n_test: int

    @classmethod
    def of(cls, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> Self:
        """Compare the labels of the two parts."""
        both = np.intersect1d(labels[train], labels[test])
        n_test = int(np.isin(labels[test], both).sum())
        return cls(tuple(map(str, both)), n_test)


@dataclass(frozen=True)
class Sizes:
    """Numbers of atoms in the structures of one part."""

    smallest: int
    median: float
    largest: int

    @classmethod
    def of(cls, n_atoms: np.ndarray) -> Self:
        """Summarise numbers of atoms."""
        return cls(int(n_atoms.min()), float(np.median(n_atoms)), int(n_atoms.max()))

    def __str__(self) -> str:
        return f"{self.smallest} to {self.largest}, median {self.median:g}"


@dataclass(frozen=True)
class Leakage:
    """What the test part shares with the training part; made by `leakage`.

    Printed, it is a table with a verdict in words. What could not be looked at, since
    `groups` or `numbers` were not given, is None.

    Parameters
    ----------
    n_train, n_test : int
        Structures in each part.
    separation : Separation
        Similarities across the cut and within the training part.
    duplicates : tuple of (str, str)
        Test structures with the descriptor of a training structure: ids of both.
    groups : Shared or None
        Groups on both sides.
    compositions : Shared or None
        Reduced formulas on both sides.
    new_elements : dict of str to int, or None
        Elements that no training structure holds, and how many test structures do.
    train_sizes, test_sizes : Sizes or None
        Numbers of atoms.
    """

    n_train: int
    n_test: int
    separation: Separation
    duplicates: tuple[tuple[str, str], ...]
    groups: Shared | None = None
    compositions: Shared | None = None
    new_elements: dict[str, int] | None = None
    train_sizes: Sizes | None = None
    test_sizes: Sizes | None = None

    @property
    def verdict(self) -> str:
        """What leaks, how far the test part lies, and what is new in it."""
        found = []
        if self.groups and self.groups.labels:
            found.append(f"{self._share(self.groups.n_test)} share a group with it")
        if self.duplicates:
            n_twins = len({one for one, _ in self.duplicates})
            found.append(f"{self._share(n_twins)} are duplicates of its structures")
        leak = "No leak was found."
        if found:
            leak = f"The training part leaks into the test: {' and '.join(found)}."
        elif self.groups is None:
            leak = "No duplicates were found; groups were not given."
        sentences = [leak, str(self.separation)]
        if self.new_elements:
            sentences.append(
                "No training structure holds "
                + ", ".join(f"{e} (in {n})" for e, n in self.new_elements.items())
                + " of the test part."
            )
        if self.train_sizes and self.test_sizes:
            if self.test_sizes.smallest > self.train_sizes.largest:
                sentences.append("Every test structure is larger than all of training.")
            elif self.test_sizes.largest > 1.5 * self.train_sizes.largest:
                sentences.append("Test structures reach well beyond training in size.")
        return " ".join(sentences)

    def _share(self, count: int) -> str:
        return f"{count} of {self.n_test} test structures ({count / self.n_test:.0%})"

    def __str__(self) -> str:
        across, within = self.separation.across, self.separation.within
        head = "similarity to the nearest in training"
        lines = [
            f"{head:<40}{'5 %':>9}{'median':>9}{'95 %':>9}{'mean':>9}",
            *(
                f"  {name:<38}{s.low:9.4f}{s.median:9.4f}{s.high:9.4f}{s.mean:9.4f}"
                for name, s in (
                    (f"{self.n_test} test structures", across),
                    (f"{self.n_train} training structures, to others", within),
                )
            ),
            *(f"{name:<40}{text}" for name, text in self._rows()),
            "",
            self.verdict,
        ]
        return "\n".join(lines)

    def _rows(self) -> Iterable[tuple[str, str]]:
        pairs = [f"{one} = {other}" for one, other in self.duplicates]
        yield "duplicates across the cut", f"{len(pairs)}{_named(pairs)}"
        for name, shared in (
            ("groups on both sides", self.groups),
            ("compositions on both sides", self.compositions),
        ):
            if shared is None:
                yield name, "not checked"
            else:
                text = f"{len(shared.labels)}{_named(shared.labels)}"
                where = f"; in {self._share(shared.n_test)}" if shared.labels else ""
                yield name, text + where
        if self.new_elements is not None:
            new = [f"{e} (in {n})" for e, n in self.new_elements.items()]
            yield "elements only in the test part", ", ".join(new) or "none"
        if self.train_sizes and self.test_sizes:
            yield "atoms in training structures", str(self.train_sizes)
            yield "atoms in test structures", str(self.test_sizes)


def _named(labels: Sequence[str]) -> str:
    return f": {some(list(labels), quote=False)}" if labels else ""


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
    """Report what leaks across a cut, and what the test part holds that is new.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `describe`.
    train, test : array-like of int
        Rows of each part, as from `Split.indices`.
    ids : iterable, default=None
        Names to report duplicates by; row numbers otherwise.
    groups : array-like of shape (n_samples,), default=None
        What should be on one side only, such as the material of a frame.
    numbers : sequence of array-like of int, default=None
        Atomic numbers of each structure: ``[atoms.numbers for atoms in structures]``.
        Compositions, elements and sizes are compared where they are given.
    tolerance : float, default=1e-3
        Two structures are duplicates if their descriptors differ by less than this,
        relative to their length.

    Returns
    -------
    Leakage
        Print it, or read its fields.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0]])
    >>> found = leakage(X, [0, 1], [2, 3], ids=["a", "b", "c", "d"])
    >>> found.duplicates
    (('d', 'a'),)
    """
    X = as_rows(X)
    train, test = np.asarray(train), np.asarray(test)
    across, within, partners = nearest_training(X, train, test, groups)
    names = np.arange(X.shape[0]) if ids is None else unique_ids(ids, "`ids`")
    names = np.asarray(names).astype(str)
    _check_length(names, X, "ids")
    twins, others = duplicates(X, train, test, (across, partners), tolerance)
    pairs = zip(names[twins].tolist(), names[others].tolist(), strict=True)
    found = Leakage(
        n_train=len(train),
        n_test=len(test),
        separation=Separation.of(across, within),
        duplicates=tuple(pairs),
        groups=None if groups is None else Shared.of(np.asarray(groups), train, test),
    )
    if numbers is None:
        return found
    _check_length(numbers, X, "numbers")
    return _with_chemistry(found, train, test, numbers)


def _check_length(given: Sequence[Any] | np.ndarray, X: Any, name: str) -> None:
    if len(given) != X.shape[0]:
        raise ValueError(
            f"`{name}` must have one entry for each of the {X.shape[0]} rows of `X`, "
            f"got {len(given)}."
        )


def _with_chemistry(
    found: Leakage, train: np.ndarray, test: np.ndarray, numbers: Sequence[ArrayLike]
) -> Leakage:
    atoms = [np.asarray(one) for one in numbers]
    known = np.unique(np.concatenate([atoms[i] for i in train]))
    new = [z for i in test for z in np.setdiff1d(atoms[i], known)]
    elements, counts = np.unique(np.array(new, dtype=int), return_counts=True)
    n_atoms = np.array([len(one) for one in atoms])
    return replace(
        found,
        compositions=Shared.of(np.array(compositions(atoms)), train, test),
        new_elements=dict(zip(symbols(elements), counts.tolist(), strict=True)),
        train_sizes=Sizes.of(n_atoms[train]),
        test_sizes=Sizes.of(n_atoms[test]),
    )
