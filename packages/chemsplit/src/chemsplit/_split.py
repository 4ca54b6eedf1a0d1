"""Split of a data set as lists of ids."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from ._atomic_write import atomic_write

_FORMAT = "chemsplit split 1"
_SETS = ("train", "validation", "test", "unused")


def unique_ids(ids: Iterable[Any], where: str) -> tuple[str, ...]:
    """Return ids as text, or raise ValueError if one occurs twice."""
    names = tuple(map(str, ids))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"Ids must be unique, but {abbreviate(repeated)} occur more than once in "
            f"{where}."
        )
    return names


def abbreviate(names: list[str], *, quote: bool = True) -> str:
    """Join the first three names, with the number of the others."""
    shown = ", ".join(map(repr if quote else str, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


@dataclass(frozen=True)
class Split:
    """Ids of the training, validation and test sets of a data set.

    Ids are stored as text and sorted within each set, so a split does not depend on
    the order of the data. Two splits are equal if all their fields are.

    Parameters
    ----------
    train, validation, test : iterable of str
        Ids of each set; only the validation set may be empty.
    name : str, default=""
        Kind of split: "random", "cluster", ...
    settings : mapping, default={}
        Settings it was made with; any value that JSON can store.
    seed : int or None, default=None
        Seed it was made with; None if it is not random.
    unused : iterable of str, default=()
        Ids of the data set that are in none of the sets.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    unused: tuple[str, ...] = ()

    def __post_init__(self):
        for name in _SETS:
            object.__setattr__(self, name, tuple(sorted(map(str, getattr(self, name)))))
        unique_ids((i for name in _SETS for i in getattr(self, name)), "the split")
        if not self.train or not self.test:
            raise ValueError(
                f"A split needs training and test ids, got {len(self.train)} "
                f"and {len(self.test)}."
            )
        # Converted by JSON (tuples to lists), so that a loaded split equals the saved.
        object.__setattr__(
            self, "settings", json.loads(json.dumps(dict(self.settings)))
        )

    @property
    def digest(self) -> str:
        """SHA-256 hash of all fields, hexadecimal."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split as JSON, atomically.

        Parameters
        ----------
        path : path-like
            File to write; an existing file is replaced.
        """
        path = Path(path)
        content = {"format": _FORMAT, "digest": self.digest, **asdict(self)}
        text = json.dumps(content, indent=1) + "\n"
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a split and check its hash.

        Parameters
        ----------
        path : path-like
            A file written by `save`.

        Returns
        -------
        Split
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a split file: {error}.") from None
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} is not a split file of this version ({_FORMAT}).")
        digest = content.pop("digest", None)
        if content.keys() != {one.name for one in fields(cls)}:
            raise ValueError(f"{path} has missing or unknown fields.")
        split = cls(**content)
        if split.digest != digest:
            raise ValueError(
                f"{path} was edited after it was written (its content does not match "
                "its hash); make the split again or restore the file."
            )
        return split

    def indices(self, ids: Iterable[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the indices of each set in a data set with exactly the split's ids.

        Parameters
        ----------
        ids : iterable
            Id of each structure of the data set.

        Returns
        -------
        train, validation, test : ndarray of int
            Ascending indices into `ids`.
        """
        labels = self.labels(ids)
        train, validation, test = (np.flatnonzero(labels == name) for name in _SETS[:3])
        return train, validation, test

    def labels(self, ids: Iterable[Any]) -> np.ndarray:
        """Return the name of the set of each structure, as for `plot_map`.

        Parameters
        ----------
        ids : iterable
            Id of each structure of the data set.

        Returns
        -------
        ndarray of str
            "train", "validation", "test" or "unused".
        """
        names = unique_ids(ids, "the data set")
        set_of = {id: name for name in _SETS for id in getattr(self, name)}
        if missing := sorted(set_of.keys() - set(names)):
            raise ValueError(
                f"The data set lacks {len(missing)} of the split's {len(set_of)} ids: "
                f"{abbreviate(missing)}."
            )
        if unknown := [name for name in names if name not in set_of]:
            raise ValueError(
                f"The data set has {len(unknown)} ids that are not in the split: "
                f"{abbreviate(unknown)}."
            )
        return np.array([set_of[name] for name in names])
