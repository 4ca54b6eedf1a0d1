"""Writes a prepared data set: column by column, the header last, nothing by halves."""

import contextlib
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
from ._prepared import FORMAT, HEADER, VERSION, dtype_of
from ._unfinished import partial_path


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
    temporary = partial_path(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        # A full disk does not say which file it had no room for.
        raise OSError(error.errno, error.strerror, str(path)) from error
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
        dtype = dtype_of(name)
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
