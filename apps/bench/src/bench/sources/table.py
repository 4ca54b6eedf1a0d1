"""Structures stored as a few large arrays, cut apart again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.exceptions import BenchError
from bench.sources.elements import atomic_number
from bench.sources.reading import DEFAULTS, Geometry, Reading, read_row
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import attempt

GEOMETRY = {
    "numbers": ("numbers", "atomic_numbers", "species", "z", "Z"),
    "positions": ("positions", "coord", "coordinates", "R"),
    "frac": ("frac", "fractional"),
    "cell": ("cell", "lattice", "box"),
    "count": ("n_atoms", "natoms"),
    "mask": ("node_mask", "mask"),
    "pbc": ("pbc",),
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


_LEARNED = ("energy", "forces", "stress", "charges", "dipole", "born_charges")
"""Labels that are never the same for all structures."""


class Table:
    """Arrays of one file or group, cut into structures.

    Args:
        arrays: by name; one row a structure, or one an atom beside a count of atoms.
        where: names them for people.

    Raises:
        BenchError: there are no numbers or positions, or counts do not add up.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str):
        self.where = where
        self.geometry = {k: _named(arrays, names) for k, names in GEOMETRY.items()}
        used = {id(v) for v in self.geometry.values()}
        self.values = {k: v for k, v in arrays.items() if id(v) not in used}
        if self.geometry["numbers"] is None:
            raise no_structures(where, f"it has {', '.join(arrays)} but no numbers")
        if self.geometry["positions"] is None and self.geometry["frac"] is None:
            raise no_structures(where, f"it has {', '.join(arrays)} but no positions")
        self.ends = self._ends()

    def _ends(self) -> np.ndarray | None:
        """Past the last atom of each structure; None for one slot an atom."""
        count = self.geometry["count"]
        if count is None:
            return None
        ends = np.cumsum(np.asarray(count, np.int64))
        atoms = len(np.asarray(self.geometry["numbers"]))
        if len(ends) == 0 or (np.asarray(count) < 1).any() or ends[-1] != atoms:
            raise no_structures(
                self.where, f"its numbers of atoms do not add up to {atoms} atoms"
            )
        return ends

    def __len__(self):
        if self.ends is not None:
            return len(self.ends)
        place = self.geometry["positions"]
        return len(np.asarray(self.geometry["frac"] if place is None else place))

    def check_labels(self, named: Mapping[str, str]) -> None:
        """Refuses labels that are neither of structures nor of atoms.

        Args:
            named: names that were given for labels.

        Raises:
            BenchError: an array has another length.
        """
        atoms = None if self.ends is None else int(self.ends[-1])
        for label in _LEARNED:
            for name in (*NAMES.get(label, ()), named.get(label)):
                array = self.values.get(name or "")
                if array is None or array.ndim == 0:
                    continue
                if len(array) not in (len(self), atoms):
                    raise BenchError(
                        f"{self.where} holds {len(self)} structures, but {len(array)} "
                        f"rows of {name}: it is damaged, or {name} is no {label}."
                    )

    def cut(self, array: np.ndarray | None, i: int) -> Any:
        """The part of an array that belongs to structure `i`, None where there is none.

        Args:
            array: of structures or of atoms.
            i: which structure.
        """
        if array is None or array.ndim == 0:
            return array
        if self.ends is not None and len(array) == self.ends[-1] != len(self.ends):
            return array[self.ends[i - 1] if i else 0 : self.ends[i]]
        if len(array) == len(self):
            return array[i]
        return None

    def _geometry(self, name: str, i: int) -> Any:
        """A part of the geometry of structure `i`, which all may have in common.

        What is in common is told by its shape, not by its length: there may be as many
        structures as atoms.
        """
        array = self.geometry[name]
        shape = () if array is None else array.shape
        common = {
            "numbers": self.ends is None and len(shape) == 1,
            "cell": shape == (3, 3),
            "pbc": shape == (3,),
        }
        if common.get(name):
            return array
        own = self.cut(array, i)
        return array if own is None and name in common else own

    def structure(self, i: int) -> tuple[Geometry, dict[str, Any]]:
        """Geometry and values of one structure, padding removed."""
        own = {
            k: self._geometry(k, i)
            for k in ("numbers", "positions", "frac", "cell", "mask", "pbc")
        }
        values = {k: _plain(self.cut(v, i)) for k, v in self.values.items()}
        cell = None if own["cell"] is None else np.asarray(own["cell"], float)
        place = own["positions"]
        if place is None:
            if cell is None or cell.shape != (3, 3):
                raise RowError("it has fractional coordinates but no cell")
            place = np.asarray(own["frac"], float) @ cell
        numbers = _numbers(np.asarray(own["numbers"]))
        live = numbers > 0 if own["mask"] is None else np.asarray(own["mask"], bool)
        if not live.all():
            size = len(live)
            values = {
                k: v[live] if isinstance(v, np.ndarray) and len(v) == size else v
                for k, v in values.items()
            }
            numbers, place = numbers[live], np.asarray(place)[live]
        pbc = cell is not None if own["pbc"] is None else own["pbc"]
        return Geometry(numbers, place, cell, pbc), values


def rows_of(
    table: Table,
    reading: Reading,
    prefix: str,
    chosen: range | None = None,
    first: int = 0,
) -> Iterator[Row | Rejected]:
    """The structures of a table one by one.

    Args:
        table: of one file or group.
        reading: names and units that were given.
        prefix: of the ids of structures that have none.
        chosen: which structures; None means all.
        first: number of the table's first structure in its group.
    """
    table.check_labels(reading.named)

    def build(i: int) -> Row:
        geometry, values = table.structure(i)
        values = {k: v for k, v in values.items() if not _absent(v)}
        return read_row(
            geometry,
            values,
            reading,
            id=f"{prefix}/{first + i:07d}",
            defaults=NAMES,
        )

    for i in range(len(table)) if chosen is None else chosen:
        yield attempt(f"Structure {first + i} of {table.where}", build, i)


def _numbers(given: np.ndarray) -> np.ndarray:
    """Atomic numbers, those of symbols where there are symbols."""
    if given.dtype.kind not in "SUO" or given.ndim != 1:
        return given
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in given]
    # An empty text is padding.
    return np.array([atomic_number(t, i) if t else 0 for i, t in enumerate(texts)])


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


def no_structures(where: Path | str, why: str) -> BenchError:
    """What is said of a file or group without structures.

    Args:
        where: names it.
        why: in a few words.
    """
    return BenchError(
        f"{where} holds no structures: {why}; numbers are called "
        f"{' or '.join(GEOMETRY['numbers'])}, positions "
        f"{' or '.join(GEOMETRY['positions'] + GEOMETRY['frac'])}."
    )
