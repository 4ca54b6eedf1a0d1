"""Columns: structures as a few long arrays, in memory or memory-mapped."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.labels import LABELS
from bench.sources import Row


class Column(NamedTuple):
    """Storage format of one column.

    Args:
        dtype: NumPy dtype.
        shape: per structure or per atom.
        per_atom: whether it has one row per atom instead of one per structure.
        fill_value: value of structures that lack the label, so that a missing label
            is not read as zero.
        label: name of the label; columns of labels that no structure has are not
            stored.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    per_atom: bool = False
    fill_value: float = 0
    label: str | None = None


def _columns_of(*, always: bool, per_atom: bool) -> dict[str, Column]:
    return {
        name: Column(
            x.dtype, x.shape, x.per_atom, x.fill_value, None if always else name
        )
        for name, x in LABELS.items()
        if x.always_stored == always and x.per_atom == per_atom
    }


# The digest of a structure depends on the order of its labels here.
LAYOUT = {
    **_columns_of(always=True, per_atom=False),
    "cell": Column("<f8", (3, 3)),
    "periodic": Column("|b1"),
    "present": Column("<u2"),
    "digest": Column("|u1", (16,)),
    **_columns_of(always=False, per_atom=False),
    "numbers": Column("<i4", per_atom=True),
    "positions": Column("<f8", (3,), per_atom=True),
    **_columns_of(always=False, per_atom=True),
}
"""Columns in Å, eV and e; labels per atom are stored in single precision."""

RAGGED = ("atom", "id", "group")
"""Entries whose number differs between structures: atoms, and bytes of ids and groups.
`end_*` stores the end of each structure; `text_*` stores the bytes as UTF-8."""

FLAGS = {name: 1 << label.bit for name, label in LABELS.items()}
"""Bits of the column `present`, one per label that a structure has."""

ISOLATED = 1 << 15
"""Bit of the column `present` that marks an isolated atom."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Structures as columns.

    Args:
        arrays: by name: those of `LAYOUT`, `end_atom`, `end_id`, `end_group`, `text_id`
            and `text_group`.
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self):
        return len(self.arrays["energy"])

    @property
    def sizes(self) -> np.ndarray:
        """Number of atoms of each structure."""
        return np.diff(self.arrays["end_atom"], prepend=0)

    def values(self, name: str, i: int) -> np.ndarray:
        """Returns the rows of structure `i` in a column with one row per atom or byte.

        Args:
            name: of the column.
            i: index of the structure.
        """
        kind = name.removeprefix("text_") if name.startswith("text_") else "atom"
        ends = self.arrays[f"end_{kind}"]
        return self.arrays[name][int(ends[i - 1]) if i else 0 : int(ends[i])]

    def text(self, kind: str, i: int) -> str:
        """Returns the id or group of a structure.

        Args:
            kind: `"id"` or `"group"`.
            i: index of the structure.
        """
        return self.values(f"text_{kind}", i).tobytes().decode()

    def texts(self, kind: str) -> np.ndarray:
        """Returns all ids or groups as a bytes array, which sorts as the texts do.

        Args:
            kind: `"id"` or `"group"`.
        """
        ends = np.asarray(self.arrays[f"end_{kind}"])
        text = np.asarray(self.arrays[f"text_{kind}"])
        lengths = np.diff(ends, prepend=0)
        width = int(lengths.max(initial=1))
        table = np.zeros((len(ends), width), np.uint8)
        table[np.arange(width) < lengths[:, None]] = text
        return table.view(f"S{width}").ravel()

    def decoded_texts(self, kind: str) -> list[str]:
        """Returns all ids or groups.

        Args:
            kind: `"id"` or `"group"`.
        """
        text = np.asarray(self.arrays[f"text_{kind}"]).tobytes()
        ends = np.asarray(self.arrays[f"end_{kind}"]).tolist()
        spans = zip([0, *ends], ends, strict=False)
        return [text[start:end].decode() for start, end in spans]

    def entries(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Returns the indices of all atoms, or bytes of text, of some structures.

        Args:
            kind: one of `RAGGED`.
            rows: indices of the structures, in the order of the result.
        """
        ends = np.asarray(self.arrays[f"end_{kind}"])
        starts = np.where(rows > 0, ends[rows - 1], 0)
        sizes = ends[rows] - starts
        first = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
        return first + np.arange(int(sizes.sum()))

    def has(self, label: str) -> np.ndarray:
        """Returns a mask of the structures that have a label.

        Args:
            label: one of `LABELS`.
        """
        return (np.asarray(self.arrays["present"]) & FLAGS[label]) > 0

    def take(self, rows: np.ndarray) -> "Columns":
        """Returns a subset of the structures.

        Args:
            rows: their indices, in the order of the result.
        """
        subset = {}
        entries = {kind: self.entries(kind, rows) for kind in RAGGED}
        for name, array in self.arrays.items():
            if name.startswith("end_"):
                lengths = np.diff(array, prepend=0)
                subset[name] = np.cumsum(lengths[rows])
            elif name.startswith("text_"):
                subset[name] = array[entries[name.removeprefix("text_")]]
            else:
                subset[name] = array[entries["atom"] if LAYOUT[name].per_atom else rows]
        return Columns(subset)


def columns_from_rows(rows: Sequence[Row]) -> Columns:
    """Returns rows as columns, in the same order.

    Args:
        rows: labeled structures.
    """
    arrays: dict[str, np.ndarray] = {}
    ends = lambda lengths: np.cumsum(np.array(lengths, np.int64))
    arrays["end_atom"] = ends([len(r) for r in rows])
    for kind in ("id", "group"):
        encoded = [getattr(r, kind).encode() for r in rows]
        arrays[f"end_{kind}"] = ends([len(x) for x in encoded])
        arrays[f"text_{kind}"] = np.frombuffer(b"".join(encoded), np.uint8)
    for name, column in LAYOUT.items():
        if column.label is None or any(getattr(r, name) is not None for r in rows):
            arrays[name] = _column(name, column, rows)
    return Columns(arrays)


def concatenate(parts: Iterable[Columns]) -> Columns:
    """Returns the structures of several parts, in order.

    Args:
        parts: any number; columns that a part lacks get the fill value.
    """
    parts = list(parts) or [columns_from_rows([])]
    names = column_names(parts)
    arrays = {}
    for name in names:
        pieces = [
            part.arrays[name] if name in part.arrays else missing_column(name, part)
            for part in parts
        ]
        if name.startswith("end_"):
            offsets = np.cumsum([0, *(int(p[-1]) if len(p) else 0 for p in pieces)])
            pieces = [p + b for p, b in zip(pieces, offsets, strict=False)]
        arrays[name] = np.concatenate(pieces)
    return Columns(arrays)


def column_names(parts: Iterable[Columns]) -> list[str]:
    """Returns the names of all columns of some parts, in a fixed order.

    Args:
        parts: any number.
    """
    stored = {name for part in parts for name in part.arrays}
    ragged = [f"end_{kind}" for kind in RAGGED] + ["text_id", "text_group"]
    return [name for name in (*ragged, *LAYOUT) if name in stored]


def missing_column(name: str, part: Columns) -> np.ndarray:
    """Returns the column of a label that no structure has, full of the fill value.

    Args:
        name: of the column.
        part: columns of the structures.
    """
    column = LAYOUT[name]
    rows = int(part.sizes.sum()) if column.per_atom else len(part)
    return np.full((rows, *column.shape), column.fill_value, column.dtype)


def _column(name: str, column: Column, rows: Sequence[Row]) -> np.ndarray:
    if name == "present":
        return np.array([_bits(r) for r in rows], column.dtype)
    if name == "periodic":
        return np.array([r.cell is not None for r in rows], column.dtype)
    if name == "digest":
        digests = b"".join(_digest(r) for r in rows)
        return np.frombuffer(digests, np.uint8).reshape(len(rows), *column.shape)
    shape = lambda r: (len(r), *column.shape) if column.per_atom else column.shape
    values = [getattr(r, name) for r in rows]
    filled = [
        np.full(shape(r), column.fill_value, column.dtype) if v is None else v
        for r, v in zip(rows, values, strict=True)
    ]
    if column.per_atom:
        filled = filled or [np.zeros((0, *column.shape))]
        return np.concatenate(filled).astype(column.dtype, copy=False)
    return np.array(filled, column.dtype).reshape(len(rows), *column.shape)


def _bits(row: Row) -> int:
    bits = sum(FLAGS[label] for label in row.labels)
    return bits | ISOLATED if row.is_isolated_atom else bits


def _digest(row: Row) -> bytes:
    """Returns the hash of id, group, geometry, charge, spin and all labels."""
    energy = np.nan if row.energy is None else row.energy
    cell = np.zeros(0) if row.cell is None else row.cell
    hasher = hashlib.blake2b(digest_size=16)
    text = f"{row.id}\n{row.group}\n{energy:.9g}\n{row.total_charge or 0:g}\n"
    hasher.update(f"{text}{row.spin or 0}\n".encode())
    hasher.update(row.numbers.astype("<i4").tobytes())
    for lengths in (row.positions, cell):
        # Adding zero turns -0 into 0.
        hasher.update((np.round(lengths, 6) + 0.0).astype("<f8").tobytes())
    for name, column in LAYOUT.items():
        value = row.labels.get(name) if column.label else None
        if value is not None:
            hasher.update(name.encode())
            hasher.update((np.asarray(value, column.dtype) + 0).tobytes())
    return hasher.digest()
