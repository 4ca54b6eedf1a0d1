"""Reader of npz files."""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from bench.exceptions import BenchError, one_line
from bench.settings.reading import ReadOptions
from bench.sources.decompression import MIN_ROW_BYTES, check_size
from bench.sources.row import Rejected, Row
from bench.sources.source import RowRange, split_into_ranges, stem, unique_names
from bench.sources.structure_arrays import StructureArrays, iterate_rows

MAX_RANGES = 8
"""Row ranges of one file at most; each of them decompresses the whole file."""

MIN_ROWS_PER_RANGE = 8000
"""Rows for which another range saves more time than decompressing the file costs."""


class NpzFiles(NamedTuple):
    """npz files: padded `(structures, atoms, ...)`, or concatenated atoms."""

    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "npz"

    def row_ranges(self) -> list[RowRange]:
        """Returns at most `MAX_RANGES` ranges per file.

        Raises:
            BenchError: a file is damaged, holds Python objects or no structures.
        """
        ranges = []
        for path in self.files:
            rows = len(_load(str(path)))
            count = max(1, min(MAX_RANGES, -(-rows // MIN_ROWS_PER_RANGE)))
            ranges += split_into_ranges(str(path), rows, max_ranges=count)
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the structures of a range."""
        arrays = _load(row_range.path)
        prefix = unique_names(self.files, stem)[Path(row_range.path)]
        indices = range(row_range.start, row_range.stop)
        yield from iterate_rows(arrays, self.options, prefix, indices)


def _load(path: str) -> StructureArrays:
    try:
        # `np.load` does not close damaged files that it opens itself.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            members = _checked_members(path, file.zip)
            arrays = {name.removesuffix(".npy"): file[name] for name in members}
    except BenchError:
        raise
    except Exception as error:  # a damaged zip file can raise any exception
        raise BenchError(
            f"{path} cannot be read as npz ({one_line(error)}): either the file "
            "is damaged or it contains Python objects, which are never loaded."
        ) from error
    return StructureArrays(arrays, path)


def _checked_members(path: str, archive: zipfile.ZipFile) -> list[str]:
    """Returns the names of all arrays, whose sizes agree with their headers."""
    total = 0
    members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
    for member in members:
        total += member.file_size
        check_size(path, total, f"its content up to {member.filename}")
        with archive.open(member) as file:
            read_header = {(1, 0): npy.read_array_header_1_0}.get(
                npy.read_magic(file), npy.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
            stored = member.file_size - file.tell()
        announced = math.prod(shape) * dtype.itemsize
        if announced != stored and not dtype.hasobject:
            raise BenchError(
                f"{path} is damaged: {member.filename} announces {announced} bytes of "
                f"numbers, but has {stored}; download it again."
            )
        if announced == 0:
            total += MIN_ROW_BYTES * max((0, *shape[:1]))
            check_size(path, total, f"its content up to {member.filename}")
    return [member.filename for member in members]
