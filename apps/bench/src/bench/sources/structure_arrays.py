"""Structures stored as a few large arrays, as in npz and HDF5 files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.exceptions import BenchError
from bench.labels import LABELS
from bench.settings.reading import DEFAULT_KEYS, ReadOptions
from bench.sources.elements import atomic_number
from bench.sources.row import Rejected, Row, RowError
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import build_or_reject

GEOMETRY_KEYS = {
    "numbers": ("numbers", "atomic_numbers", "species", "z", "Z"),
    "positions": ("positions", "coord", "coordinates", "R"),
    "frac": ("frac", "fractional"),
    "cell": ("cell", "lattice", "box"),
    "count": ("n_atoms", "natoms"),
    "mask": ("node_mask", "mask"),
    "pbc": ("pbc",),
}
LABEL_KEYS = DEFAULT_KEYS | {
    "energy": ("energy", "energy_pbe_d3", "E"),
    "forces": ("forces", "F"),
    "charges": ("charges", "pbe_ddec_charge", "ddec3_charge"),
    "total_charge": ("total_charge", "charge"),
    "spin": ("spin", "mult"),
    "id": ("id", "qmof_id", "_id", "name"),
    "group": ("group", "mof_name", "reduced_formula"),
}
"""Default keys of each label; a scalar NaN is a missing value."""


_PER_STRUCTURE = tuple(name for name, label in LABELS.items() if label.kind)
"""Labels that always have one entry per structure or per atom, never one value shared
by all structures."""


class StructureArrays:
    """Arrays of one file or group, indexed by structure.

    Without atom counts, the first axis runs over structures, padded to the same number
    of atoms. With atom counts, the atoms of all structures are concatenated.

    Args:
        arrays: the arrays of the file or group, by key.
        location: file and group, for messages.

    Raises:
        BenchError: there are no atomic numbers or no positions, or the counts do not
            add up to the number of atoms.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], location: str):
        self.location = location
        self.geometry = {k: _first(arrays, keys) for k, keys in GEOMETRY_KEYS.items()}
        used = {id(v) for v in self.geometry.values()}
        self.values = {k: v for k, v in arrays.items() if id(v) not in used}
        keys = ", ".join(arrays)
        if self.geometry["numbers"] is None:
            raise no_structures_error(location, f"it has {keys} but no atomic numbers")
        if self.geometry["positions"] is None and self.geometry["frac"] is None:
            raise no_structures_error(location, f"it has {keys} but no positions")
        self.ends = self._structure_ends()

    def _structure_ends(self) -> np.ndarray | None:
        """Returns the index after the last atom of each structure; None if padded."""
        count = self.geometry["count"]
        if count is None:
            return None
        ends = np.cumsum(np.asarray(count, np.int64))
        atoms = len(np.asarray(self.geometry["numbers"]))
        if len(ends) == 0 or (np.asarray(count) < 1).any() or ends[-1] != atoms:
            raise no_structures_error(
                self.location, f"its numbers of atoms do not add up to {atoms} atoms"
            )
        return ends

    def __len__(self):
        if self.ends is not None:
            return len(self.ends)
        positions = self.geometry["positions"]
        return len(
            np.asarray(self.geometry["frac"] if positions is None else positions)
        )

    def check_lengths(self, given_keys: Mapping[str, str]) -> None:
        """Checks that labels have one entry per structure or per atom.

        Args:
            given_keys: keys that the user gave, by label.

        Raises:
            BenchError: an array has another length.
        """
        atoms = None if self.ends is None else int(self.ends[-1])
        for label in _PER_STRUCTURE:
            for key in (*LABEL_KEYS.get(label, ()), given_keys.get(label)):
                array = self.values.get(key or "")
                if array is None or array.ndim == 0:
                    continue
                if len(array) not in (len(self), atoms):
                    raise BenchError(
                        f"{self.location} holds {len(self)} structures, but "
                        f"{len(array)} rows of {key}: either the file is damaged or "
                        f"{key} does not contain {label}."
                    )

    def select(self, array: np.ndarray | None, i: int) -> Any:
        """Returns the part of an array for structure `i`; None if there is none.

        Args:
            array: scalar, per structure or per atom.
            i: index of the structure.
        """
        if array is None or array.ndim == 0:
            return array
        if self.ends is not None:
            n_structures, n_atoms = len(self.ends), self.ends[-1]
            if len(array) == n_atoms and n_atoms != n_structures:
                return array[self.ends[i - 1] if i else 0 : self.ends[i]]
        if len(array) == len(self):
            return array[i]
        return None

    def _select_geometry(self, name: str, i: int) -> Any:
        """Returns a part of the geometry, which all structures may share.

        Shared arrays are recognized by shape rather than length, because the number of
        structures may equal the number of atoms.
        """
        array = self.geometry[name]
        shape = () if array is None else array.shape
        shared = {
            "numbers": self.ends is None and len(shape) == 1,
            "cell": shape == (3, 3),
            "pbc": shape == (3,),
        }
        if shared.get(name):
            return array
        part = self.select(array, i)
        return array if part is None and name in shared else part

    def structure(self, i: int) -> tuple[Geometry, dict[str, Any]]:
        """Returns geometry and values of structure `i`, without padding."""
        parts = {
            name: self._select_geometry(name, i)
            for name in ("numbers", "positions", "frac", "cell", "mask", "pbc")
        }
        values = {k: _to_python(self.select(v, i)) for k, v in self.values.items()}
        cell = None if parts["cell"] is None else np.asarray(parts["cell"], float)
        positions = parts["positions"]
        if positions is None:
            if cell is None or cell.shape != (3, 3):
                raise RowError("it has fractional coordinates but no cell")
            positions = np.asarray(parts["frac"], float) @ cell
        numbers = _atomic_numbers(np.asarray(parts["numbers"]))
        mask = parts["mask"]
        mask = numbers > 0 if mask is None else np.asarray(mask, bool)
        if not mask.all():
            size = len(mask)
            values = {
                k: v[mask] if isinstance(v, np.ndarray) and len(v) == size else v
                for k, v in values.items()
            }
            numbers, positions = numbers[mask], np.asarray(positions)[mask]
        pbc = cell is not None if parts["pbc"] is None else parts["pbc"]
        return Geometry(numbers, positions, cell, pbc), values


def iterate_rows(
    arrays: StructureArrays,
    options: ReadOptions,
    prefix: str,
    indices: range | None = None,
    offset: int = 0,
) -> Iterator[Row | Rejected]:
    """Yields the structures of arrays one by one.

    Args:
        arrays: the arrays of one file or group.
        options: keys and units that the user gave.
        prefix: first part of the ids of structures without one.
        indices: indices of the structures to yield; None means all.
        offset: index in the group of the first structure of `arrays`.
    """
    arrays.check_lengths(options.keys)

    def build(i: int) -> Row:
        geometry, values = arrays.structure(i)
        values = {k: v for k, v in values.items() if not _is_nan(v)}
        return build_row(
            geometry,
            values,
            options,
            id=f"{prefix}/{offset + i:07d}",
            default_keys=LABEL_KEYS,
        )

    for i in range(len(arrays)) if indices is None else indices:
        yield build_or_reject(f"Structure {offset + i} of {arrays.location}", build, i)


def _atomic_numbers(given: np.ndarray) -> np.ndarray:
    """Returns atomic numbers from numbers or symbols."""
    if given.dtype.kind not in "SUO" or given.ndim != 1:
        return given
    symbols = [v.decode() if isinstance(v, bytes) else str(v) for v in given]
    # Empty strings are padding.
    return np.array([atomic_number(s, i) if s else 0 for i, s in enumerate(symbols)])


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def _to_python(value: Any) -> Any:
    """Converts NumPy scalars and bytes to built-in Python types for `Row.info`."""
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


def _first(
    arrays: Mapping[str, np.ndarray], keys: tuple[str, ...]
) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def no_structures_error(location: Path | str, reason: str) -> BenchError:
    """Returns the error for a file or group without structures.

    Args:
        location: the file or group.
        reason: a short explanation.
    """
    return BenchError(
        f"{location} holds no structures: {reason}; atomic numbers are read from "
        f"{' or '.join(GEOMETRY_KEYS['numbers'])}, positions from "
        f"{' or '.join(GEOMETRY_KEYS['positions'] + GEOMETRY_KEYS['frac'])}."
    )
