"""A prepared data set: a folder of columns that are mapped, not loaded."""

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
"""Written last: a folder without it is unfinished."""

PLAN = "plan.json"
"""What is being prepared; gone once it is."""

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


def is_begun(folder: Path) -> bool:
    """Whether a folder holds the beginning of a data set.

    Args:
        folder: any.
    """
    return (folder / PLAN).is_file()


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
            f"{folder / HEADER} is damaged ({one_line(error)}): prepare the data again."
        ) from error
    if kind != FORMAT or version != VERSION:
        raise BenchError(
            f"{folder} was made by another version (format {version}, expected "
            f"{VERSION}): run `bench prepare` again."
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


def _unfit(folder: Path) -> BenchError:
    return BenchError(
        f"{folder / HEADER} does not fit its columns: prepare the data again."
    )


def dtype_of(name: str) -> np.dtype:
    """The type of a column's numbers.

    Args:
        name: of the column.
    """
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
            f"{path} cannot be read ({one_line(error)}): prepare the data again."
        ) from error
    shape = LAYOUT[name].shape if name in LAYOUT else ()
    if array.dtype != dtype_of(name) or array.shape[1:] != shape:
        raise BenchError(
            f"{path} holds {array.dtype} of shape {array.shape}: prepare the data "
            "again."
        )
    # Still mapped, but without what a subclass costs at every access.
    plain = np.asarray(array)
    plain.flags.writeable = False
    return plain
