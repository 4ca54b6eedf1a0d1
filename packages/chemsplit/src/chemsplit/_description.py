"""A described data set: what splits, reports and maps are made from, in one file."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from scipy.sparse import csr_matrix

from ._draft import draft, require_folder

_FORMAT = "chemsplit description 1"


def place(path: str | os.PathLike[str]) -> Path:
    """Check where a description is to be kept."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f'A description is kept in an ".npz" file, got {path}.')
    require_folder(path)
    return path


@dataclass(frozen=True)
class Description:
    """Descriptors with ids, groups and atomic numbers.

    Parameters
    ----------
    X : scipy.sparse.csr_matrix of shape (n_structures, n_features)
        One row a structure.
    ids : tuple of str
        Of each structure.
    numbers : tuple of ndarray of int
        Atomic numbers of each structure.
    groups : tuple of str or None
        Group of each structure.
    settings : mapping, default={}
        How the descriptors were made; anything that JSON can hold.
    """

    X: csr_matrix
    ids: tuple[str, ...]
    numbers: tuple[np.ndarray, ...]
    groups: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each structure."""
        return np.array([len(one) for one in self.numbers])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file without pickles.

        Parameters
        ----------
        path : path-like
            Where to, ending in ".npz"; a file there is replaced.
        """
        path = place(path)
        X = csr_matrix(self.X)
        head = {"format": _FORMAT, "settings": dict(self.settings)}
        arrays = {
            "data": X.data,
            "indices": X.indices,
            "indptr": X.indptr,
            "shape": np.array(X.shape),
            "ids": np.array(self.ids),
            "numbers": np.concatenate(self.numbers).astype(np.uint8),
            "n_atoms": self.n_atoms,
            "head": np.array(json.dumps(head)),
        }
        if self.groups is not None:
            arrays["groups"] = np.array(self.groups)
        with draft(path) as written:
            np.savez(written, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file written by `save`.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Description
        """
        try:
            with Path(path).open("rb") as opened, np.load(opened) as file:
                head = json.loads(str(file["head"]))
                parts = (file["data"], file["indices"], file["indptr"])
                X = csr_matrix(parts, shape=tuple(file["shape"]))
                ids, groups = file["ids"], file.get("groups")
                ends = np.cumsum(file["n_atoms"])[:-1]
                numbers = tuple(np.split(file["numbers"].astype(int), ends))
        except (KeyError, ValueError, EOFError, BadZipFile, UnpicklingError) as error:
            raise ValueError(f"{path} is not a description of structures.") from error
        if head.get("format") != _FORMAT:
            raise ValueError(f"{path} is not of this version ({_FORMAT}).")
        named = None if groups is None else tuple(groups.tolist())
        return cls(X, tuple(ids.tolist()), numbers, named, head["settings"])
