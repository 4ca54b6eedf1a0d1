"""Structures stored as a few large arrays: npz files and groups of HDF5."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from .._errors import BenchError, in_short
from ._reading import DEFAULTS, Geometry, Reading, read_row
from ._row import Rejected, Row, RowError
from ._source import Unit, attempt, blocks

GEOMETRY = {
    "numbers": ("numbers", "atomic_numbers", "species", "z", "Z"),
    "positions": ("positions", "coord", "coordinates", "R"),
    "frac": ("frac", "fractional"),
    "cell": ("cell", "lattice", "box"),
    "count": ("n_atoms", "natoms"),
    "mask": ("node_mask", "mask"),
}
NAMES = DEFAULTS | {
    "energy": ("energy", "energy_pbe_d3", "E"),
    "forces": ("forces", "F"),
    "charges": ("charges", "pbe_ddec_charge", "ddec3_charge"),
    "total_charge": ("total_charge", "charge"),
    "spin": ("spin", "mult"),
    "id": ("id", "qmof_id", "_id", "name"),
    "group": ("group", "mof_name", "reduced_formula"),
}
"""Names understood without being told; a single number that is NaN is an absent one."""


class Npz(NamedTuple):
    """npz files: `(structures, atoms, ...)`, or all atoms behind one another."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "npz"

    def units(self) -> list[Unit]:
        """A unit a file, for a file is unpacked whole."""
        return [Unit(str(path)) for path in self.files]

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """All structures of a file.

        Raises:
            BenchError: it is damaged, holds objects or no structures.
        """
        try:
            # Opened here, for numpy leaves a damaged file open.
            with open(unit.path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # zip files break in many ways
            raise BenchError(
                f"{unit.path} cannot be read as npz ({in_short(error)}): it is damaged, "
                "or holds Python objects, which are never loaded."
            ) from error
        prefix = Path(unit.path).stem
        yield from _rows(_Table(arrays, unit.path), self.reading, prefix, None)


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
                raise _no_structures(path, "no group of it has positions")
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
        yield from _rows(_Table(arrays, where), self.reading, prefix, None, unit.start)


class _Table:
    """Arrays of one file or group, cut into structures."""

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str):
        self.where = where
        self.geometry = {k: _named(arrays, names) for k, names in GEOMETRY.items()}
        used = {id(v) for v in self.geometry.values()}
        self.values = {k: v for k, v in arrays.items() if id(v) not in used}
        if self.geometry["numbers"] is None:
            raise _no_structures(where, f"it has {', '.join(arrays)} but no numbers")
        if self.geometry["positions"] is None and self.geometry["frac"] is None:
            raise _no_structures(where, f"it has {', '.join(arrays)} but no positions")
        self.ends = self._ends()

    def _ends(self) -> np.ndarray | None:
        """Past the last atom of each structure; None for one slot an atom."""
        count = self.geometry["count"]
        if count is None:
            return None
        ends = np.cumsum(np.asarray(count, np.int64))
        atoms = len(np.asarray(self.geometry["numbers"]))
        if len(ends) == 0 or (np.asarray(count) < 1).any() or ends[-1] != atoms:
            raise _no_structures(
                self.where, f"its numbers of atoms do not add up to {atoms} atoms"
            )
        return ends

    def __len__(self):
        if self.ends is not None:
            return len(self.ends)
        place = self.geometry["positions"]
        return len(np.asarray(self.geometry["frac"] if place is None else place))

    def cut(self, array: np.ndarray | None, i: int, *, lone: bool = False) -> Any:
        """The part of an array that belongs to structure `i`.

        Args:
            array: of structures, of atoms, or the same for all structures.
            i: which structure.
            lone: an array of another length is the same for all structures.
        """
        if array is None or array.ndim == 0:
            return array
        if self.ends is not None and len(array) == self.ends[-1] != len(self.ends):
            return array[self.ends[i - 1] if i else 0 : self.ends[i]]
        if len(array) == len(self):
            return array[i]
        return array if lone else None

    def structure(self, i: int) -> tuple[Geometry, dict[str, Any]]:
        """Geometry and values of one structure, padding removed."""
        own = {
            k: self.cut(self.geometry[k], i, lone=k in ("numbers", "cell"))
            for k in ("numbers", "positions", "frac", "cell", "mask")
        }
        values = {k: _plain(self.cut(v, i)) for k, v in self.values.items()}
        cell = None if own["cell"] is None else np.asarray(own["cell"], float)
        place = own["positions"]
        if place is None:
            if cell is None or cell.shape != (3, 3):
                raise RowError("it has fractional coordinates but no cell")
            place = np.asarray(own["frac"], float) @ cell
        numbers = np.asarray(own["numbers"])
        live = numbers > 0 if own["mask"] is None else np.asarray(own["mask"], bool)
        if not live.all():
            size = len(live)
            values = {
                k: v[live] if isinstance(v, np.ndarray) and len(v) == size else v
                for k, v in values.items()
            }
            numbers, place = numbers[live], np.asarray(place)[live]
        return Geometry(numbers, place, cell, cell is not None), values


def _rows(
    table: _Table, reading: Reading, prefix: str, group: str | None, first: int = 0
) -> Iterator[Row | Rejected]:
    def build(i: int) -> Row:
        geometry, values = table.structure(i)
        values = {k: v for k, v in values.items() if not _absent(v)}
        return read_row(
            geometry,
            values,
            reading,
            id=f"{prefix}/{first + i:07d}",
            group=group,
            defaults=NAMES,
        )

    for i in range(len(table)):
        yield attempt(f"Structure {first + i} of {table.where}", build, i)


def _absent(value: Any) -> bool:
    """NaN stands for a number that a column does not know."""
    return isinstance(value, float) and np.isnan(value)


def _plain(value: Any) -> Any:
    """A single value as Python's own, so that it counts as a fact."""
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


def _named(
    arrays: Mapping[str, np.ndarray], names: tuple[str, ...]
) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


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


def _no_structures(where: Path | str, why: str) -> BenchError:
    return BenchError(
        f"{where} holds no structures: {why}; numbers are called "
        f"{' or '.join(GEOMETRY['numbers'])}, positions "
        f"{' or '.join(GEOMETRY['positions'] + GEOMETRY['frac'])}."
    )
