"""What every reader is: files cut into units that can be read one by one."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.exceptions import BenchError
from bench.sources.reading import Reading
from bench.sources.row import Rejected, Row

BLOCK = 2000
"""Rows of a unit where a file can be entered anywhere."""

MOST_ROWS = 1_000_000_000
"""Of a file; more are announced by arrays whose rows are empty."""


class Unit(NamedTuple):
    """A stretch of a source that is read by one process in one go."""

    path: str
    """File, or folder of a system."""
    start: int = 0
    """First row."""
    stop: int = -1
    """Past the last row; -1 is the end of the file."""
    at: str = ""
    """Where in the file: an offset, a group, whatever the reader needs."""


class Source(Protocol):
    """A reader of one format, bound to the files that it reads.

    Sources and units travel to other processes; they hold names, not open files.
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
    def reading(self) -> Reading:
        """Names and units that were given."""
        ...

    def units(self) -> list[Unit]:
        """Stretches in the order of the source; together they are all rows."""
        ...

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The rows of a stretch; one that cannot be used does not end it."""
        ...


def attempt[T](where: str, build: Callable[..., T], *arguments: Any) -> T | Rejected:
    """What is built, or a sentence where the source holds something else.

    Args:
        where: names the row.
        build: makes it.
        arguments: of `build`.
    """
    try:
        return build(*arguments)
    except Exception as error:  # what is malformed raises whatever it runs into
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        text = " ".join(str(error).split()) or "no reason given"
        return Rejected(where, (kind + text).rstrip(".")[:300])


@functools.lru_cache(4)
def names_of(paths: tuple[Path, ...], short: Callable[[Path], str]) -> dict[Path, str]:
    """A name for each path, its own: ids and groups are made of it.

    Args:
        paths: all of a source.
        short: the usual name; where two paths share it, all are named by their way from
            the folder that holds them, such as `run1/vasprun.xml`.
    """
    names = {path: short(path) for path in paths}
    if len(set(names.values())) == len(names):
        return names
    root = os.path.commonpath([path.parent for path in paths])
    return {path: Path(os.path.relpath(path, root)).as_posix() for path in paths}


def stem(path: Path) -> str:
    """The name of a file without its last suffix.

    Args:
        path: of the file.
    """
    return path.stem


def first_word(path: Path) -> str:
    """The name of a file up to its first dot.

    Args:
        path: of the file.
    """
    return path.name.split(".")[0]


def blocks(path: str, rows: int, at: str = "", shares: int | None = None) -> list[Unit]:
    """Units of at most `BLOCK` rows, or larger ones where there would be too many.

    Args:
        path: of all units.
        rows: in all.
        at: of all units.
        shares: units at most.

    Raises:
        BenchError: there are more rows than any file has.
    """
    if rows > MOST_ROWS:
        raise BenchError(
            f"{path} announces {rows} structures, more than {MOST_ROWS}: it is damaged."
        )
    size = BLOCK if shares is None else max(BLOCK, -(-rows // shares))
    return [
        Unit(path, start, min(start + size, rows), at) for start in range(0, rows, size)
    ]
