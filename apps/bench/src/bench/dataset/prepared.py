"""Prepared datasets: folders of columns that are memory-mapped, not loaded."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.dataset.columns import LAYOUT, Columns
from bench.exceptions import BenchError, one_line

FORMAT = "bench-prepared"
VERSION = 4
HEADER = "dataset.json"
"""Written last; a folder without this file is unfinished."""

UNFINISHED = "preparation.json"
"""Inputs of an unfinished preparation; deleted when it finishes."""

RAGGED = {"end_atom", "end_id", "end_group", "text_id", "text_group", "order"}
"""Columns that are not in `LAYOUT`."""

_DTYPES = {"end": "<i8", "text": "|u1", "order": "<i8"}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared dataset, opened.

    Args:
        folder: of its files.
        columns: read-only memory maps.
        order: indices of the structures, sorted by id.
        header: content of `dataset.json`.
    """

    folder: Path
    columns: Columns
    order: np.ndarray
    header: dict[str, Any]


def is_prepared(folder: Path) -> bool:
    """Returns whether a folder holds a finished dataset."""
    return (folder / HEADER).is_file()


def is_unfinished(folder: Path) -> bool:
    """Returns whether a folder holds an unfinished preparation.

    Args:
        folder: need not exist.
    """
    return (folder / UNFINISHED).is_file()


def open_prepared(folder: Path) -> Prepared:
    """Opens a prepared dataset.

    Args:
        folder: written by `write_prepared`.

    Raises:
        BenchError: it is unfinished or of another version, or a file is missing or
            truncated.
    """
    if not is_prepared(folder):
        raise BenchError(
            f"{folder} holds no finished dataset: run the same `bench prepare` again; "
            "it resumes."
        )
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        listed, rows = header["columns"], header["structures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{folder / HEADER} is damaged ({one_line(error)}): prepare the data again."
        ) from error
    check_version(folder, header)
    needed = {name for name, column in LAYOUT.items() if column.label is None} | RAGGED
    if not needed <= set(listed) <= needed | set(LAYOUT):
        raise _mismatch(folder)
    arrays = {
        name: _mapped(folder / f"{name}.npy", name, listed[name]["bytes"])
        for name in listed
    }
    order = arrays.pop("order")
    columns = Columns(arrays)
    if not all(len(a) == rows for a in (order, arrays["energy"], arrays["end_atom"])):
        raise _mismatch(folder)
    for end, letters in (
        ("id", "text_id"),
        ("group", "text_group"),
        ("atom", "numbers"),
    ):
        if rows and arrays[f"end_{end}"][-1] != len(arrays[letters]):
            raise _mismatch(folder)
    return Prepared(folder, columns, order, header)


def check_version(folder: Path, header: dict[str, Any]) -> None:
    """Checks that a dataset was written in the current format.

    Args:
        folder: of the dataset.
        header: content of `dataset.json`.

    Raises:
        BenchError: it was written by an older version.
    """
    if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise BenchError(
            f"{folder} was made by an older version: delete it and run `bench prepare` "
            "again."
        )


def verify(prepared: Prepared) -> None:
    """Compares the checksums of all files with the header.

    Args:
        prepared: an open dataset.

    Raises:
        BenchError: a file has changed since.
    """
    for name, entry in prepared.header["columns"].items():
        path = prepared.folder / f"{name}.npy"
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != entry["sha256"]:
            raise BenchError(
                f"{path} has changed since it was written (its checksum differs): "
                "prepare the data again."
            )


def _mismatch(folder: Path) -> BenchError:
    return BenchError(
        f"{folder / HEADER} does not match its columns: prepare the data again."
    )


def dtype_of(name: str) -> np.dtype:
    """Returns the dtype of a column.

    Args:
        name: of the column.
    """
    return np.dtype(
        LAYOUT[name].dtype if name in LAYOUT else _DTYPES[name.split("_")[0]]
    )


def _mapped(path: Path, name: str, size: int) -> np.ndarray:
    """Maps a column into memory after checking size, dtype and shape."""
    try:
        actual = path.stat().st_size
        if actual != size:
            raise BenchError(
                f"{path} has {actual} of {size} bytes: it was truncated or changed; "
                "prepare the data again."
            )
        # A file of zero rows cannot be mapped.
        array = np.load(
            path, mmap_mode="r" if size > 4096 else None, allow_pickle=False
        )
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path} cannot be read ({one_line(error)}): prepare the data again."
        ) from error
    shape = LAYOUT[name].shape if name in LAYOUT else ()
    if array.dtype != dtype_of(name) or array.shape[1:] != shape:
        raise BenchError(
            f"{path} holds {array.dtype} of shape {array.shape}: prepare the data "
            "again."
        )
    # A plain view of the map: indexing `np.memmap` is slower.
    plain = np.asarray(array)
    plain.flags.writeable = False
    return plain
