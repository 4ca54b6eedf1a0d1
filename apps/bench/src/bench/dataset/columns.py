"""Structures as a few long arrays, in memory or mapped from a file."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.labels import LABELS
from bench.sources import Row


class Column(NamedTuple):
    """How one fact is stored.

    Args:
        dtype: of its numbers.
        shape: for one structure, or for one atom.
        atoms: whether it has a row for each atom.
        absent: what stands where a structure lacks it, so that no absent label is read
            as zero by mistake.
        label: the label that it is; a column no structure has is not stored.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    atoms: bool = False
    absent: float = 0
    label: str | None = None


LAYOUT = {
    "energy": Column("<f8", absent=np.nan),
    "total_charge": Column("<f8"),
    "spin": Column("<i4"),
    "cell": Column("<f8", (3, 3)),
    "periodic": Column("|b1"),
    "present": Column("<u2"),
    "digest": Column("|u1", (16,)),
    "stress": Column("<f8", (6,), absent=np.nan, label="stress"),
    "dipole": Column("<f8", (3,), absent=np.nan, label="dipole"),
    "numbers": Column("<i4", atoms=True),
    "positions": Column("<f8", (3,), atoms=True),
    "forces": Column("<f4", (3,), atoms=True, absent=np.nan, label="forces"),
    "charges": Column("<f4", atoms=True, absent=np.nan, label="charges"),
    "born_charges": Column(
        "<f4", (3, 3), atoms=True, absent=np.nan, label="born_charges"
    ),
    "tags": Column("|i1", atoms=True, absent=-128, label="tags"),
}
"""Å, eV, e; geometry and energies in double precision, labels of atoms in single."""

RAGGED = ("atom", "id", "group")
"""What has its own number of entries in each structure: atoms, and letters of names.
`end_*` holds where each structure ends; letters are UTF-8, in a column `text_*`."""

FLAGS = {label: 1 << bit for bit, label in enumerate(LABELS)}
"""Bits of `present`: which labels a structure has."""

ISOLATED = 1 << 15
"""The bit of `present` that marks an isolated atom."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Structures by columns.

    Args:
        arrays: by name of `LAYOUT`, with `end_atom`, `end_id`, `end_group`, `text_id`
            and `text_group`.
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self):
        return len(self.arrays["energy"])

    @property
    def sizes(self) -> np.ndarray:
        """Atoms of each structure."""
        return np.diff(self.arrays["end_atom"], prepend=0)

    def part(self, name: str, i: int) -> np.ndarray:
        """The rows of a column of atoms or letters that belong to structure `i`.

        Args:
            name: of a column.
            i: index of the structure.
        """
        kind = name.removeprefix("text_") if name.startswith("text_") else "atom"
        ends = self.arrays[f"end_{kind}"]
        return self.arrays[name][int(ends[i - 1]) if i else 0 : int(ends[i])]

    def text(self, kind: str, i: int) -> str:
        """Id or group of a structure.

        Args:
            kind: `"id"` or `"group"`.
            i: index of the structure.
        """
        return self.part(f"text_{kind}", i).tobytes().decode()

    def texts(self, kind: str) -> np.ndarray:
        """All ids or groups as an array of bytes, which sorts as the texts do.

        Args:
            kind: `"id"` or `"group"`.
        """
        ends = np.asarray(self.arrays[f"end_{kind}"])
        blob = np.asarray(self.arrays[f"text_{kind}"])
        lengths = np.diff(ends, prepend=0)
        width = int(lengths.max(initial=1))
        table = np.zeros((len(ends), width), np.uint8)
        table[np.arange(width) < lengths[:, None]] = blob
        return table.view(f"S{width}").ravel()

    def has(self, label: str) -> np.ndarray:
        """Which structures have a label.

        Args:
            label: one of `LABELS`.
        """
        return (np.asarray(self.arrays["present"]) & FLAGS[label]) > 0

    def take(self, rows: np.ndarray) -> "Columns":
        """Some structures, in the order asked for.

        Args:
            rows: their indices.
        """
        found = {}
        wanted = {kind: _spread(self.arrays[f"end_{kind}"], rows) for kind in RAGGED}
        for name, array in self.arrays.items():
            if name.startswith("end_"):
                lengths = np.diff(array, prepend=0)
                found[name] = np.cumsum(lengths[rows])
            elif name.startswith("text_"):
                found[name] = array[wanted[name.removeprefix("text_")]]
            else:
                found[name] = array[wanted["atom"] if LAYOUT[name].atoms else rows]
        return Columns(found)


def pack(rows: Sequence[Row]) -> Columns:
    """Columns of some rows.

    Args:
        rows: checked, in any order.
    """
    arrays: dict[str, np.ndarray] = {}
    ends = lambda lengths: np.cumsum(np.array(lengths, np.int64))
    arrays["end_atom"] = ends([len(r) for r in rows])
    for kind in ("id", "group"):
        letters = [getattr(r, kind).encode() for r in rows]
        arrays[f"end_{kind}"] = ends([len(x) for x in letters])
        arrays[f"text_{kind}"] = np.frombuffer(b"".join(letters), np.uint8)
    for name, column in LAYOUT.items():
        if column.label is None or any(getattr(r, name) is not None for r in rows):
            arrays[name] = _packed(name, column, rows)
    return Columns(arrays)


def join(parts: Iterable[Columns]) -> Columns:
    """All structures of several parts, in order.

    Args:
        parts: any number; a column that one lacks is absent there.
    """
    parts = list(parts) or [pack([])]
    names = columns_of(parts)
    arrays = {}
    for name in names:
        pieces = [
            part.arrays[name] if name in part.arrays else absent(name, part)
            for part in parts
        ]
        if name.startswith("end_"):
            before = np.cumsum([0, *(int(p[-1]) if len(p) else 0 for p in pieces)])
            pieces = [p + b for p, b in zip(pieces, before, strict=False)]
        arrays[name] = np.concatenate(pieces)
    return Columns(arrays)


def columns_of(parts: Iterable[Columns]) -> list[str]:
    """Names of all columns of some parts, in a fixed order."""
    found = {name for part in parts for name in part.arrays}
    ragged = [f"end_{kind}" for kind in RAGGED] + ["text_id", "text_group"]
    return [name for name in (*ragged, *LAYOUT) if name in found]


def absent(name: str, part: Columns) -> np.ndarray:
    """A column of a label that no structure of a part has.

    Args:
        name: of the column.
        part: whose sizes it gets.
    """
    column = LAYOUT[name]
    rows = int(part.sizes.sum()) if column.atoms else len(part)
    return np.full((rows, *column.shape), column.absent, column.dtype)


def _spread(ends: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Indices of all entries of some structures."""
    lengths = np.diff(ends, prepend=0)
    starts = (np.asarray(ends) - lengths)[rows]
    sizes = lengths[rows]
    first = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return first + np.arange(int(sizes.sum()))


def _packed(name: str, column: Column, rows: Sequence[Row]) -> np.ndarray:
    if name == "present":
        return np.array([_bits(r) for r in rows], column.dtype)
    if name == "periodic":
        return np.array([r.cell is not None for r in rows], column.dtype)
    if name == "digest":
        made = b"".join(_digest(r) for r in rows)
        return np.frombuffer(made, np.uint8).reshape(len(rows), *column.shape)
    shape = lambda r: (len(r), *column.shape) if column.atoms else column.shape
    values = [getattr(r, name) for r in rows]
    filled = [
        np.full(shape(r), column.absent, column.dtype) if v is None else v
        for r, v in zip(rows, values, strict=True)
    ]
    if column.atoms:
        filled = filled or [np.zeros((0, *column.shape))]
        return np.concatenate(filled).astype(column.dtype, copy=False)
    return np.array(filled, column.dtype).reshape(len(rows), *column.shape)


def _bits(row: Row) -> int:
    bits = sum(FLAGS[label] for label in LABELS if getattr(row, label) is not None)
    return bits | ISOLATED if row.is_isolated_atom else bits


def _digest(row: Row) -> bytes:
    """Hash of all that is learned from: names, geometry, charge and every label."""
    energy = np.nan if row.energy is None else row.energy
    cell = np.zeros(0) if row.cell is None else row.cell
    total = hashlib.blake2b(digest_size=16)
    facts = f"{row.id}\n{row.group}\n{energy:.9g}\n{row.total_charge or 0:g}\n"
    total.update(f"{facts}{row.spin or 0}\n".encode())
    total.update(row.numbers.astype("<i4").tobytes())
    for place in (row.positions, cell):
        # Adding zero makes -0 and 0 the same.
        total.update((np.round(place, 6) + 0.0).astype("<f8").tobytes())
    for name, column in LAYOUT.items():
        value = getattr(row, name) if column.label else None
        if value is not None:
            total.update(name.encode())
            total.update((np.asarray(value, column.dtype) + 0).tobytes())
    return total.digest()
