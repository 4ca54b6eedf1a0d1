"""Structures stored as a few large arrays: npz files and groups of HDF5."""

import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.lib import format as npy

from bench.exceptions import BenchError, one_line
from bench.sources.chunks import check_chunks
from bench.sources.limits import SMALLEST_ROW, check_size
from bench.sources.reading import Reading
from bench.sources.row import Rejected, Row
from bench.sources.source import Unit, blocks, names_of, stem
from bench.sources.table import GEOMETRY, Table, no_structures, rows_of

SHARES = 8
"""Stretches of an npz file at most."""

WORTHWHILE = 8000
"""Structures of a stretch from which unpacking the file once more pays."""


MOST_PACKED = 2000
"""Bytes that one on disk may stand for; the best that gzip does is 1032."""

LARGEST_UNWRITTEN = 1 << 26
"""Bytes of an array that may consist of its fill value alone."""


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
        prefix = names_of(self.files, stem)[Path(unit.path)]
        yield from rows_of(table, self.reading, prefix, range(unit.start, unit.stop))


class Hdf5(NamedTuple):
    """HDF5 files whose groups hold structures of one size each."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "hdf5"

    def units(self) -> list[Unit]:
        """Stretches of every group that has positions; links are not followed.

        Raises:
            BenchError: a file is damaged, holds no structures, or far more of them
                than its bytes.
        """
        found = []
        for path in self.files:
            before, size = len(found), 0
            with _hdf5(path) as file:
                for name, group in _groups(file):
                    sets = _datasets(group)
                    size += sum(_size(path, item) for item in sets.values())
                    check_size(path, size, f"what it has up to group {name}")
                    rows = len(_pick(sets, "positions"))
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
        own = names_of(self.files, stem)[Path(unit.path)]
        prefix = f"{own}{unit.at}".rstrip("/")
        yield from rows_of(Table(arrays, where), self.reading, prefix, None, unit.start)


def _npz(path: str) -> Table:
    try:
        # Opened here, for numpy leaves a damaged file open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            members = _checked_members(path, file.zip)
            arrays = {name.removesuffix(".npy"): file[name] for name in members}
    except BenchError:
        raise
    except Exception as error:  # zip files break in many ways
        raise BenchError(
            f"{path} cannot be read as npz ({one_line(error)}): it is damaged, or "
            "holds Python objects, which are never loaded."
        ) from error
    return Table(arrays, path)


def _checked_members(path: str, archive: zipfile.ZipFile) -> list[str]:
    """The arrays of an npz file, none larger than what the file holds of it."""
    size = 0
    members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
    for member in members:
        size += member.file_size
        check_size(path, size, f"what it has up to {member.filename}")
        with archive.open(member) as file:
            headers = {(1, 0): npy.read_array_header_1_0}
            header = headers.get(npy.read_magic(file), npy.read_array_header_2_0)
            shape, _, kind = header(file)
            held = member.file_size - file.tell()
        announced = math.prod(shape) * kind.itemsize
        if announced != held and not kind.hasobject:
            raise BenchError(
                f"{path} is damaged: {member.filename} announces {announced} bytes of "
                f"numbers, but has {held}; fetch it again."
            )
        if announced == 0:
            size += SMALLEST_ROW * max((0, *shape[:1]))
            check_size(path, size, f"what it has up to {member.filename}")
    return [member.filename for member in members]


def _size(path: Path, item: h5py.Dataset) -> int:
    """Bytes of a dataset in memory, refused if most of it was never written."""
    rows = item.shape[0] if item.shape else 0
    # A chunk is unpacked whole, even where the array has become smaller than it.
    most = max(int(item.size or 0), math.prod(item.chunks) if item.chunks else 0)
    size = most * item.dtype.itemsize or SMALLEST_ROW * rows
    stored = item.id.get_storage_size()
    if size > LARGEST_UNWRITTEN and size > MOST_PACKED * stored:
        raise BenchError(
            f"{path} is refused: its dataset {item.name} has the shape {item.shape}, "
            f"but {stored} bytes of it were written."
        )
    check_chunks(path, item)
    return size


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
        f"{path} cannot be read as HDF5 ({one_line(error)}): fetch it again."
    )
