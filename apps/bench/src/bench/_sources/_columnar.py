"""Structures stored as a few large arrays: npz files and groups of HDF5."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from .._errors import BenchError, in_short
from ._reading import Reading
from ._row import Rejected, Row
from ._source import Unit, blocks
from ._table import GEOMETRY, Table, no_structures, rows_of

SHARES = 8
"""Stretches of an npz file at most."""


class Npz(NamedTuple):
    """npz files: `(structures, atoms, ...)`, or all atoms behind one another."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "npz"

    def units(self) -> list[Unit]:
        """At most `SHARES` stretches a file, for each of them unpacks it whole.

        Raises:
            BenchError: a file is damaged, holds objects or no structures.
        """
        found = []
        for path in self.files:
            found += blocks(str(path), len(_npz(str(path))), shares=SHARES)
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The structures of a stretch."""
        table = _npz(unit.path)
        prefix = Path(unit.path).stem
        yield from rows_of(table, self.reading, prefix, range(unit.start, unit.stop))


class Hdf5(NamedTuple):
    """HDF5 files whose groups hold structures of one size each."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "hdf5"

    def units(self) -> list[Unit]:
        """Stretches of every group that has positions; links are not followed.

        Raises:
            BenchError: a file is damaged or holds no structures.
        """
        found = []
        for path in self.files:
            before = len(found)
            with _hdf5(path) as file:
                for name, group in _groups(file):
                    rows = len(_pick(group, "positions"))
                    found += blocks(str(path), rows, name)
            if len(found) == before:
                raise no_structures(path, "no group of it has positions")
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The structures of a stretch of a group."""
        with _hdf5(Path(unit.path)) as file:
            group = file[unit.at]
            assert isinstance(group, h5py.Group)
            sets = {k: v for k, v in group.items() if isinstance(v, h5py.Dataset)}
            rows = len(_pick(group, "positions"))
            part = slice(unit.start, unit.stop)
            try:
                arrays = {
                    k: v[part] if v.shape[:1] == (rows,) else v[()]
                    for k, v in sets.items()
                }
            except (OSError, TypeError, ValueError, MemoryError) as error:
                raise _damaged(unit.path, error) from error
        where = f"{unit.path}{unit.at}"
        prefix = f"{Path(unit.path).stem}{unit.at}".rstrip("/")
        yield from rows_of(Table(arrays, where), self.reading, prefix, None, unit.start)


def _npz(path: str) -> Table:
    try:
        # Opened here, for numpy leaves a damaged file open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zip files break in many ways
        raise BenchError(
            f"{path} cannot be read as npz ({in_short(error)}): it is damaged, or "
            "holds Python objects, which are never loaded."
        ) from error
    return Table(arrays, path)


def _pick(group: h5py.Group, what: str) -> Any:
    return next((group[n] for n in GEOMETRY[what] if n in group), None)


def _groups(file: h5py.File) -> list[tuple[str, h5py.Group]]:
    found: list[tuple[str, h5py.Group]] = []
    if _pick(file, "positions") is not None:
        found.append(("/", file))

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and _pick(item, "positions") is not None:
            found.append((f"/{name}", item))

    file.visititems(visit)
    return found


def _hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path | str, error: Exception) -> BenchError:
    return BenchError(
        f"{path} cannot be read as HDF5 ({in_short(error)}): fetch it again."
    )
