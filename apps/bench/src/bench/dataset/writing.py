"""Writing of prepared datasets: one file per column, the header last."""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from bench.dataset.columns import LAYOUT, Columns, column_names, missing_column
from bench.dataset.prepared import FORMAT, HEADER, VERSION, dtype_of
from bench.files import atomic, write_error, write_text


def write_prepared(
    folder: Path,
    parts: Callable[[], Iterable[Columns]],
    order: np.ndarray,
    entries: dict[str, Any],
) -> dict[str, Any]:
    """Writes the structures of all parts as one dataset.

    Args:
        folder: must exist; files of an unfinished call are replaced.
        parts: returns the structures; called twice, for the sizes and for the contents.
        order: indices of the structures, sorted by id.
        entries: further entries of the header.

    Returns:
        The header.

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    lengths = _column_lengths(parts())
    rows_by_name = lengths | {"order": len(order)}
    try:
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context(_column_file(folder, name, rows))
                for name, rows in rows_by_name.items()
            }
            files["order"].add(np.asarray(order))
            for part in parts():
                for name in lengths:
                    files[name].add(
                        part.arrays[name]
                        if name in part.arrays
                        else missing_column(name, part)
                    )
            columns = {name: file.close() for name, file in files.items()}
        header = {"format": FORMAT, "version": VERSION, **entries, "columns": columns}
        write_text(folder / HEADER, json.dumps(header, indent=1, ensure_ascii=False))
        return header
    except OSError as error:
        raise write_error(folder, error) from error


class _ColumnFile:
    """An npy file of known length, written in pieces, and its checksum."""

    def __init__(self, file: BinaryIO, name: str, rows: int):
        dtype = dtype_of(name)
        shape = (rows, *(LAYOUT[name].shape if name in LAYOUT else ()))
        self._is_end_column = name.startswith("end_")
        self._offset, self._rows_left, self._dtype = 0, rows, dtype
        self._hash, self._file, self._name = hashlib.sha256(), file, name
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        buffer = io.BytesIO()
        npy.write_array_header_1_0(buffer, header)
        self._write(buffer.getvalue())

    def add(self, piece: np.ndarray) -> None:
        """Appends rows; ends of structures continue from those already written."""
        piece = np.ascontiguousarray(piece, self._dtype)
        if self._is_end_column and len(piece):
            piece = piece + self._offset
            self._offset = int(piece[-1])
        self._rows_left -= len(piece)
        self._write(piece.tobytes())

    def close(self) -> dict[str, Any]:
        """Flushes the file to disk and returns its length and checksum."""
        assert self._rows_left == 0, self._name
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        return {"bytes": size, "sha256": self._hash.hexdigest()}

    def _write(self, content: bytes) -> None:
        self._hash.update(content)
        self._file.write(content)


@contextlib.contextmanager
def _column_file(folder: Path, name: str, rows: int) -> Iterator[_ColumnFile]:
    with atomic(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
        yield _ColumnFile(file, name, rows)


def _column_lengths(parts: Iterable[Columns]) -> dict[str, int]:
    """Returns the number of rows of each column over all parts."""
    rows = atoms = 0
    text_lengths = {"text_id": 0, "text_group": 0}
    names: list[str] = column_names([])
    for part in parts:
        rows, atoms = rows + len(part), atoms + int(part.sizes.sum())
        for name in text_lengths:
            text_lengths[name] += len(part.arrays[name])
        names = column_names([part, Columns(dict.fromkeys(names, np.zeros(0)))])
    length = lambda name: (
        text_lengths[name]
        if name in text_lengths
        else (atoms if name in LAYOUT and LAYOUT[name].per_atom else rows)
    )
    return {name: length(name) for name in names}
