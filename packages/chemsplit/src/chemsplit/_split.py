"""A split as a list of ids: what is stored, compared and published."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from ._draft import draft

_FORMAT = "chemsplit split 1"
_PARTS = ("train", "validation", "test", "unused")


def unique_ids(ids: Iterable[Any], where: str) -> tuple[str, ...]:
    """Ids as text, or a sentence about one that occurs twice."""
    names = tuple(map(str, ids))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"Ids must be unique, but {some(twice)} occur more than once in {where}."
        )
    return names


def some(names: list[str], *, quote: bool = True) -> str:
    """Name the first few of many ids."""
    shown = ", ".join(map(repr if quote else str, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


@dataclass(frozen=True)
class Split:
    """Ids of the training, validation and test parts of a data set.

    Ids are kept as text and sorted within each part, so a split means the same for
    any order of the file. It is equal to another if all its fields are.

    Parameters
    ----------
    train, validation, test : iterable of str
        Ids of each part; only the validation part may be empty.
    name : str, default=""
        What kind of split it is: "random", "cluster", ...
    settings : mapping, default={}
        How it was made; anything that JSON can hold.
    seed : int or None, default=None
        What it was drawn with.
    unused : iterable of str, default=()
        Ids of the data set that the splitter left out.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    unused: tuple[str, ...] = ()

    def __post_init__(self):
        for part in _PARTS:
            object.__setattr__(self, part, tuple(sorted(map(str, getattr(self, part)))))
        unique_ids((i for part in _PARTS for i in getattr(self, part)), "the split")
        if not self.train or not self.test:
            raise ValueError(
                f"A split needs training and test ids, got {len(self.train)} "
                f"and {len(self.test)}."
            )
        # What JSON makes of the settings, so that a loaded split equals the saved one.
        object.__setattr__(
            self, "settings", json.loads(json.dumps(dict(self.settings)))
        )

    @property
    def digest(self) -> str:
        """Content hash: 64 hexadecimal digits that change with any field."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split as JSON; a reader sees the old file or the new one.

        Parameters
        ----------
        path : path-like
            Where to; a file there is replaced.
        """
        path = Path(path)
        content = {"format": _FORMAT, "digest": self.digest, **asdict(self)}
        with draft(path) as written:
            written.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a split and check that nobody has edited it since.

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
            raise ValueError(f"{path} lacks fields of a split or holds others.")
        split = cls(**content)
        if split.digest != digest:
            raise ValueError(
                f"{path} was changed after it was written (its content does not match "
                "its hash); make the split again or restore the file."
            )
        return split

    def indices(self, ids: Iterable[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the parts in a data set that holds exactly the ids of the split.

        Parameters
        ----------
        ids : iterable
            Id of each structure of the data set, in its order.

        Returns
        -------
        train, validation, test : ndarray of int
            Ascending positions in `ids`.
        """
        labels = self.labels(ids)
        train, validation, test = (np.flatnonzero(labels == p) for p in _PARTS[:3])
        return train, validation, test

    def labels(self, ids: Iterable[Any]) -> np.ndarray:
        """Name the part of each structure: what `plot_map` colours by.

        Parameters
        ----------
        ids : iterable
            Id of each structure of the data set, in its order.

        Returns
        -------
        ndarray of str
            "train", "validation", "test" or "unused".
        """
        names = unique_ids(ids, "the data set")
        part_of = {name: part for part in _PARTS for name in getattr(self, part)}
        if missing := sorted(part_of.keys() - set(names)):
            raise ValueError(
                f"The data set lacks {len(missing)} of the split's {len(part_of)} ids: "
                f"{some(missing)}."
            )
        if strange := [name for name in names if name not in part_of]:
            raise ValueError(
                f"The data set holds {len(strange)} ids that the split does not know: "
                f"{some(strange)}."
            )
        return np.array([part_of[name] for name in names])
