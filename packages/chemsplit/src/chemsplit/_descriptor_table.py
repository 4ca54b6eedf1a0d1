"""Descriptors of a data set, with ids, groups and atomic numbers, in one file."""

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

from ._atomic_write import atomic_write, require_folder

_FORMAT = "chemsplit descriptors 1"


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a table that is to be written, or raise ValueError."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f'Descriptors are written to an ".npz" file, got {path}.')
    require_folder(path)
    return path


@dataclass(frozen=True)
class DescriptorTable:
    """Descriptors of a data set with ids, groups and atomic numbers.

    Parameters
    ----------
    X : scipy.sparse.csr_matrix of shape (n_structures, n_features)
        Descriptors, one row per structure.
    ids : tuple of str
        Id of each structure.
    numbers : tuple of ndarray of int
        Atomic numbers of each structure.
    groups : tuple of str or None
        Group of each structure; None if the structures are independent.
    settings : mapping, default={}
        Settings of the descriptor; any value that JSON can store.
    """

    X: csr_matrix
    ids: tuple[str, ...]
    numbers: tuple[np.ndarray, ...]
    groups: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms of each structure."""
        return np.array([len(numbers) for numbers in self.numbers])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to one file, without pickle.

        Parameters
        ----------
        path : path-like
            File with the suffix ".npz"; an existing file is replaced.
        """
        path = check_path(path)
        X = csr_matrix(self.X)
        header = {"format": _FORMAT, "settings": dict(self.settings)}
        arrays = {
            "data": X.data,
            "indices": X.indices,
            "indptr": X.indptr,
            "shape": np.array(X.shape),
            "ids": np.array(self.ids),
            "numbers": np.concatenate(self.numbers).astype(np.uint8),
            "n_atoms": self.n_atoms,
            "head": np.array(json.dumps(header)),
        }
        if self.groups is not None:
            arrays["groups"] = np.array(self.groups)
        with atomic_write(path) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file written by `save`.

        Parameters
        ----------
        path : path-like
            File to read.

        Returns
        -------
        DescriptorTable
        """
        try:
            with Path(path).open("rb") as opened, np.load(opened) as file:
                header = json.loads(str(file["head"]))
                csr = (file["data"], file["indices"], file["indptr"])
                X = csr_matrix(csr, shape=tuple(file["shape"]))
                ids, groups = file["ids"], file.get("groups")
                ends = np.cumsum(file["n_atoms"])[:-1]
                numbers = tuple(np.split(file["numbers"].astype(int), ends))
        except (KeyError, ValueError, EOFError, BadZipFile, UnpicklingError) as error:
            raise ValueError(f"{path} is not a table of descriptors.") from error
        if header.get("format") != _FORMAT:
            raise ValueError(
                f"{path} was made by another version of chemsplit (its format is "
                f"{header.get('format')!r}, not {_FORMAT!r}); make it again."
            )
        group_names = None if groups is None else tuple(groups.tolist())
        return cls(X, tuple(ids.tolist()), numbers, group_names, header["settings"])
