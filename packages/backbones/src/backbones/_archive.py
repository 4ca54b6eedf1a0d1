"""Entries of a file of arrays, with checks against damaged or malicious files."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT = "backbones arrays 2"

# Booleans, integers, floating-point and complex numbers.
_KINDS = "biufc"


def open_archive(raw: BinaryIO) -> zipfile.ZipFile:
    """Returns the archive of a file of arrays.

    Args:
        raw: an open file written by `write_arrays`.

    Raises:
        ValueError: two entries have one name, or the entries would be larger than the
            file, which is not compressed.
        zipfile.BadZipFile: the archive is not complete.
    """
    archive = zipfile.ZipFile(raw)
    size = raw.seek(0, 2)
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("two entries have the same name")
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise ValueError("its entries claim to be larger than the file")
    return archive


def read_entry(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Returns an array of an archive; its size is checked before allocation.

    Args:
        archive: from `open_archive`.
        name: of the entry, without `.npy`.

    Raises:
        ValueError: it is not an array of numbers, or its size does not match its shape.
        KeyError: there is no such entry.
    """
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        content = file.read()
    if dtype.kind not in _KINDS:
        raise ValueError(f"{name} has type {dtype}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"the size of {name} does not match its shape {shape}")
    return np.ndarray(shape, dtype, content, order="F" if fortran else "C")


def read_archive(
    path: Path, *, arrays: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the header of a file of arrays, and its arrays by name.

    Args:
        path: file written by `write_arrays`.
        arrays: whether to read the arrays.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or has another format or version.
    """
    with open(path, "rb") as raw:
        try:
            with open_archive(raw) as archive:
                text = json.loads(read_entry(archive, "header").tobytes())
                readable = text.get("format") == FORMAT
                stored = _stored(archive) if arrays and readable else {}
        # Damaged bytes raise exceptions of many types in zipfile, NumPy and json.
        except Exception as error:
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise ValueError(
                f"{path} is not a complete file of model arrays ({reason}): delete it "
                "and write it again, or use another copy."
            ) from error
    if not readable:
        raise ValueError(
            f"{path} has format {text.get('format')!r:.80}, not {FORMAT!r}: made "
            "by another version, train or write the model again."
        )
    if not isinstance(text.get("header"), dict):
        raise ValueError(f"The header of {path} is not a JSON object.")
    return text["header"], stored


def _stored(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = json.loads(read_entry(archive, "names").tobytes())
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError("the names of its arrays are not a list of strings")
    if len(set(names)) != len(names) or len(names) + 2 != len(archive.namelist()):
        raise ValueError("the names do not match the arrays")
    return {name: read_entry(archive, f"array_{i}") for i, name in enumerate(names)}
