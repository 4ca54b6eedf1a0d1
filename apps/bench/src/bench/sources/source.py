"""The interface of a reader, and helpers that all readers share."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.exceptions import BenchError
from bench.settings.reading import ReadOptions
from bench.sources.row import Rejected, Row

ROWS_PER_RANGE = 2000
"""Rows of a range in formats with random access."""

MAX_ROWS = 1_000_000_000
"""Rows per file; only arrays with empty rows can announce more."""


class RowRange(NamedTuple):
    """A contiguous range of rows that one process reads in one pass."""

    path: str
    """File, or directory of a DeePMD set."""
    start: int = 0
    """Index of the first row."""
    stop: int = -1
    """Index after the last row; -1 means the end of the file."""
    entry_point: str = ""
    """Byte offset of the first row or name of an HDF5 group, as the reader needs."""


class Source(Protocol):
    """A reader of one format for a fixed list of files.

    Sources and row ranges are pickled for worker processes, so they store file names
    and not open files.
    """

    @property
    def format(self) -> str:
        """Name of the format."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read, in a fixed order."""
        ...

    @property
    def options(self) -> ReadOptions:
        """Keys and units that the user gave."""
        ...

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges that together cover all rows, in order."""
        ...

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the rows of a range; an unusable row does not stop the iteration."""
        ...


class Reader(Protocol):
    """What an entry point of the group `bench.readers` names, such as a class.

    The name of the entry point is that of the format. The source that it returns yields
    rows in eV, Å and e, which `row_building.build_row` makes from the values of a
    structure under the keys and in the units of the options.
    """

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names of its files, such as `*.dump`, where none of bench's formats match."""
        ...

    def __call__(self, files: tuple[Path, ...], options: ReadOptions) -> Source:
        """Returns the source of some files, sorted by name."""
        ...


def build_or_reject[T](
    location: str, build: Callable[..., T], *arguments: Any
) -> T | Rejected:
    """Returns `build(*arguments)`, or the reason why it raised an exception.

    Args:
        location: file and row, for the message.
        build: builds the row.
        arguments: arguments of `build`.
    """
    try:
        return build(*arguments)
    except Exception as error:  # malformed input can raise any exception
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        text = " ".join(str(error).split()) or "no reason given"
        return Rejected(location, (kind + text).rstrip(".")[:300])


@functools.lru_cache(4)
def unique_names(
    paths: tuple[Path, ...], short_name: Callable[[Path], str]
) -> dict[Path, str]:
    """Returns a unique name for each path, from which ids and groups are made.

    Args:
        paths: all files of a source.
        short_name: gives the usual name; if two paths share it, all paths are named
            relative to their common directory, such as `run1/vasprun.xml`.
    """
    names = {path: short_name(path) for path in paths}
    if len(set(names.values())) == len(names):
        return names
    root = os.path.commonpath([path.parent for path in paths])
    return {path: Path(os.path.relpath(path, root)).as_posix() for path in paths}


def stem(path: Path) -> str:
    """Returns a file name without its last suffix.

    Args:
        path: path of the file.
    """
    return path.stem


def name_before_dot(path: Path) -> str:
    """Returns a file name up to its first dot.

    Args:
        path: path of the file.
    """
    return path.name.split(".")[0]


def split_into_ranges(
    path: str, rows: int, entry_point: str = "", max_ranges: int | None = None
) -> list[RowRange]:
    """Returns ranges of `ROWS_PER_RANGE` rows, or of more rows to respect a limit.

    Args:
        path: path of the file of all ranges.
        rows: number of rows in the file or group.
        entry_point: entry point of all ranges, see `RowRange`.
        max_ranges: largest number of ranges; None means no limit.

    Raises:
        BenchError: the number of rows is implausible.
    """
    if rows > MAX_ROWS:
        raise BenchError(
            f"{path} announces {rows} structures, more than {MAX_ROWS}: it is damaged."
        )
    size = ROWS_PER_RANGE
    if max_ranges is not None:
        size = max(size, -(-rows // max_ranges))
    return [
        RowRange(path, start, min(start + size, rows), entry_point)
        for start in range(0, rows, size)
    ]
