"""The entries of a file of arrays, read so that no byte of it can do harm."""

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
    """The archive, its entries bounded by the size of the file itself.

    Args:
        raw: an open file that `write_arrays` made.

    Raises:
        ValueError: entries would be larger than the file: none is compressed there.
        zipfile.BadZipFile: there is no complete archive.
    """
    archive = zipfile.ZipFile(raw)
    size = raw.seek(0, 2)
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("an entry is there twice")
    if sum(entry.file_size for entry in archive.infolist()) > size:
        raise ValueError("its entries claim to be larger than the file")
    return archive


def read_entry(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array; its size is checked before anything is allocated.

    Args:
        archive: from `open_archive`.
        name: of the entry, without `.npy`.

    Raises:
        ValueError: it is no array of numbers, or not as large as its shape says.
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
        raise ValueError(f"{name} holds {dtype}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name} has not the size that its shape {shape} says")
    return np.ndarray(shape, dtype, content, order="F" if fortran else "C")


def read_archive(
    path: Path, *, arrays: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of a file of arrays, and its arrays by name if asked for.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged, of another format or of another version.
    """
    with open(path, "rb") as raw:
        try:
            with open_archive(raw) as archive:
                text = json.loads(read_entry(archive, "header").tobytes())
                same = text.get("format") == FORMAT
                stored = _stored(archive) if arrays and same else {}
        # Damaged bytes raise whatever zipfile, numpy and json happen to meet first.
        except Exception as error:
            why = " ".join(str(error).split())[:100] or type(error).__name__
            raise ValueError(
                f"{path} is not a complete file of model arrays ({why}): delete it and "
                "write it again, or take another copy."
            ) from error
    if not same:
        raise ValueError(
            f"{path} has format {text.get('format')!r:.80}, not {FORMAT!r}: made by "
            "another version, train or write the model again."
        )
    if not isinstance(text.get("header"), dict):
        raise ValueError(f"{path} has a header that is no JSON object.")
    return text["header"], stored


def _stored(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = json.loads(read_entry(archive, "names").tobytes())
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError("the names of its arrays are no list of texts")
    if len(set(names)) != len(names) or len(names) + 2 != len(archive.namelist()):
        raise ValueError("the names do not go with the arrays")
    return {name: read_entry(archive, f"array_{i}") for i, name in enumerate(names)}
