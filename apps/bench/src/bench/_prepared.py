"""A prepared data set: a folder of columns that are mapped, not loaded."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ._columns import LAYOUT, Columns, absent, columns_of
from ._errors import BenchError, in_short

FORMAT = "bench-prepared"
VERSION = 1
HEADER = "dataset.json"
"""Written last: a folder without it is unfinished."""

RAGGED = {"end_atom", "end_id", "end_group", "text_id", "text_group", "order"}
"""Columns besides those of `LAYOUT`."""

_DTYPES = {"end": "<i8", "text": "|u1", "order": "<i8"}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An open data set.

    Args:
        folder: where it is.
        columns: mapped from the files, read only.
        order: structures in the order of their ids.
        header: what `dataset.json` says.
    """

    folder: Path
    columns: Columns
    order: np.ndarray
    header: dict[str, Any]


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds a finished data set."""
    return (folder / HEADER).is_file()


def write_prepared(
    folder: Path,
    parts: Callable[[], Iterable[Columns]],
    order: np.ndarray,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Writes the columns of all parts one after the other, and the header last.

    Args:
        folder: exists; files of an unfinished attempt are replaced.
        parts: the structures, asked for once to learn their columns and sizes and once
            for their contents.
        order: structures in the order of their ids.
        facts: further entries of the header.

    Returns:
        The header.

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    shapes = _shapes(parts())
    files = {
        name: _Growing(folder / f"{name}.npy", name, rows)
        for name, rows in shapes.items()
    }
    files["order"] = _Growing(folder / "order.npy", "order", len(order))
    try:
        files["order"].add(np.asarray(order))
        for part in parts():
            for name in shapes:
                files[name].add(
                    part.arrays[name] if name in part.arrays else absent(name, part)
                )
        columns = {name: file.close() for name, file in files.items()}
        header = {"format": FORMAT, "version": VERSION, **facts, "columns": columns}
        write_text(folder / HEADER, json.dumps(header, indent=1, ensure_ascii=False))
        return header
    except OSError as error:
        raise no_room(folder, error) from error
    finally:
        for file in files.values():
            file.abandon()


def open_prepared(folder: Path) -> Prepared:
    """Maps a data set.

    Args:
        folder: as written by `write_prepared`.

    Raises:
        BenchError: unfinished, of another version, or a file is missing or cut off.
    """
    if not is_prepared(folder):
        raise BenchError(
            f"{folder} holds no finished data set: run the same `bench prepare` again, "
            "it goes on where it stopped."
        )
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        kind, version, listed = (header[k] for k in ("format", "version", "columns"))
        rows = header["structures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{folder / HEADER} is damaged ({in_short(error)}): prepare the data again."
        ) from error
    if kind != FORMAT or version != VERSION:
        raise BenchError(
            f"{folder} is of version {version} of {kind}, this program reads version "
            f"{VERSION} of {FORMAT}: prepare the data again."
        )
    needed = {name for name, column in LAYOUT.items() if column.label is None} | RAGGED
    if not needed <= set(listed) <= needed | set(LAYOUT):
        raise _unfit(folder)
    arrays = {
        name: _mapped(folder / f"{name}.npy", name, listed[name]["bytes"])
        for name in listed
    }
    order = arrays.pop("order")
    columns = Columns(arrays)
    if not all(len(a) == rows for a in (order, arrays["energy"], arrays["end_atom"])):
        raise _unfit(folder)
    for end, letters in (
        ("id", "text_id"),
        ("group", "text_group"),
        ("atom", "numbers"),
    ):
        if rows and arrays[f"end_{end}"][-1] != len(arrays[letters]):
            raise _unfit(folder)
    return Prepared(folder, columns, order, header)


def verify(prepared: Prepared) -> None:
    """Compares every file with the checksum taken when it was written.

    Args:
        prepared: an open data set.

    Raises:
        BenchError: a file has changed since.
    """
    for name, entry in prepared.header["columns"].items():
        path = prepared.folder / f"{name}.npy"
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry["sha256"]:
            raise BenchError(
                f"{path} has changed since it was written (its checksum differs): "
                "prepare the data again."
            )


def write_text(path: Path, text: str) -> None:
    """Replaces a file once its new content is complete.

    Args:
        path: of the file.
        text: its content.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file once its new content is complete.

    Args:
        path: of the file.
        content: of the file.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def no_room(folder: Path, error: OSError) -> BenchError:
    """What is said when something cannot be written."""
    return BenchError(
        f"{folder} cannot be written ({error.strerror or in_short(error)}): make "
        "room or choose another folder; nothing half-written is used, and the same "
        "command goes on."
    )


class _Growing:
    """An npy file of known length that is written piece by piece, and its checksum."""

    def __init__(self, path: Path, name: str, rows: int):
        dtype = _dtype(name)
        shape = (rows, *(LAYOUT[name].shape if name in LAYOUT else ()))
        self._ends = name.startswith("end_")
        self._before, self._left, self._dtype = 0, rows, dtype
        self._hash, self._path = hashlib.sha256(), path
        self._temporary = path.with_name(f"{path.name}.partial")
        self._file = self._temporary.open("wb")
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)
        self._file.flush()
        with self._temporary.open("rb") as written:
            self._hash.update(written.read())

    def add(self, piece: np.ndarray) -> None:
        piece = np.ascontiguousarray(piece, self._dtype)
        if self._ends and len(piece):
            piece = piece + self._before
            self._before = int(piece[-1])
        self._left -= len(piece)
        content = piece.tobytes()
        self._hash.update(content)
        self._file.write(content)

    def close(self) -> dict[str, Any]:
        """Puts the file in its place; how long it is and what its checksum is."""
        assert self._left == 0, self._path
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        return {"bytes": self._path.stat().st_size, "sha256": self._hash.hexdigest()}

    def abandon(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # what a full disk did not take is not wanted
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def _shapes(parts: Iterable[Columns]) -> dict[str, int]:
    """Rows of every column of all parts together."""
    rows = atoms = 0
    letters = {"text_id": 0, "text_group": 0}
    names: list[str] = columns_of([])
    for part in parts:
        rows, atoms = rows + len(part), atoms + int(part.sizes.sum())
        for name in letters:
            letters[name] += len(part.arrays[name])
        names = columns_of([part, Columns(dict.fromkeys(names, np.zeros(0)))])
    length = lambda name: (
        letters[name]
        if name in letters
        else (atoms if name in LAYOUT and LAYOUT[name].atoms else rows)
    )
    return {name: length(name) for name in names}


def _unfit(folder: Path) -> BenchError:
    return BenchError(
        f"{folder / HEADER} does not fit its columns: prepare the data again."
    )


def _dtype(name: str) -> np.dtype:
    return np.dtype(
        LAYOUT[name].dtype if name in LAYOUT else _DTYPES[name.split("_")[0]]
    )


def _mapped(path: Path, name: str, size: int) -> np.ndarray:
    try:
        found = path.stat().st_size
        if found != size:
            raise BenchError(
                f"{path} has {found} of {size} bytes: it was cut off or changed; "
                "prepare the data again."
            )
        # A file of zero rows cannot be mapped.
        array = np.load(
            path, mmap_mode="r" if size > 4096 else None, allow_pickle=False
        )
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path} cannot be read ({in_short(error)}): prepare the data again."
        ) from error
    shape = LAYOUT[name].shape if name in LAYOUT else ()
    if array.dtype != _dtype(name) or array.shape[1:] != shape:
        raise BenchError(
            f"{path} holds {array.dtype} of shape {array.shape}: prepare the data "
            "again."
        )
    # Still mapped, but without what a subclass costs at every access.
    plain = np.asarray(array)
    plain.flags.writeable = False
    return plain
