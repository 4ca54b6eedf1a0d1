"""Structures stored as a few large arrays: npz files and groups of HDF5."""

from collections.abc import Iterator, Mapping
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

WORTHWHILE = 8000
"""Structures of a stretch from which unpacking the file once more pays."""


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
            rows = len(_npz(str(path)))
            shares = max(1, min(SHARES, -(-rows // WORTHWHILE)))
            found += blocks(str(path), rows, shares=shares)
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
                    rows = len(_pick(_datasets(group), "positions"))
                    found += blocks(str(path), rows, name)
            if len(found) == before:
                raise no_structures(path, "no group of it has positions")
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The structures of a stretch of a group."""
        with _hdf5(Path(unit.path)) as file:
            group = file[unit.at]
            assert isinstance(group, h5py.Group)
            sets = _datasets(group)
            rows = len(_pick(sets, "positions"))
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


def _datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Arrays of a group that lie in the file itself: a file names no other files."""
    found = {}
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            item = group[name]
            if isinstance(item, h5py.Dataset) and not (
                item.external or item.is_virtual
            ):
                found[name] = item
    return found


def _pick(sets: Mapping[str, h5py.Dataset], what: str) -> Any:
    return next((sets[n] for n in GEOMETRY[what] if n in sets), None)


def _groups(file: h5py.File) -> list[tuple[str, h5py.Group]]:
    found: list[tuple[str, h5py.Group]] = []
    if _pick(_datasets(file), "positions") is not None:
        found.append(("/", file))

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Group):
            return
        if _pick(_datasets(item), "positions") is not None:
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
