"""Compressed files, and limits on their size in memory."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path

from bench.exceptions import BenchError, one_line
from bench.sources.xz import XzFile

ALWAYS_ALLOWED = 1 << 28
"""Decompressed bytes that are allowed for a file of any size."""

MAX_RATIO = 200
"""Further bytes that are allowed per byte on disk; published sets need less than 50."""

MIN_ROW_BYTES = 64
"""Size assumed for the rows of an array if they are empty."""


COMPRESSED = {".xz": XzFile, ".gz": gzip.open, ".bz2": bz2.open}
"""Functions that open a compressed file, by its last suffix."""


def max_decompressed_bytes(path: Path | str) -> int:
    """Returns the largest size in memory that is allowed for a file.

    Args:
        path: path of the file.
    """
    return ALWAYS_ALLOWED + MAX_RATIO * Path(path).stat().st_size


def check_size(path: Path | str, size: int, what: str = "it") -> None:
    """Checks that the decompressed size of a file is within its limit.

    Args:
        path: path of the file.
        size: decompressed bytes, or a lower bound.
        what: the part of the file that has this size, for the message.

    Raises:
        BenchError: it exceeds `max_decompressed_bytes`.
    """
    if size > max_decompressed_bytes(path):
        raise BenchError(
            f"{path} is rejected: {what} takes {size >> 20} MiB or more decompressed, "
            f"{Path(path).stat().st_size} bytes on disk; the limit is "
            f"{ALWAYS_ALLOWED >> 20} MiB plus {MAX_RATIO} times the file. If this is "
            "intended, store it uncompressed."
        )


def open_decompressed(path: Path) -> io.BufferedReader:
    """Opens a file for reading, decompressed if its suffix is a compression format.

    Args:
        path: path of the file.

    Raises:
        BenchError: when reading, if the content exceeds `max_decompressed_bytes`.
    """
    if path.suffix not in COMPRESSED:
        return path.open("rb")
    return io.BufferedReader(_Decompressed(path), 1 << 17)


def check_decompressed_size(path: Path) -> None:
    """Checks a file for libraries that decompress it themselves.

    Args:
        path: path of the file.

    Raises:
        BenchError: it exceeds `max_decompressed_bytes`, or cannot be decompressed.
    """
    if path.suffix not in COMPRESSED:
        return
    try:
        with open_decompressed(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise BenchError(
            f"{path} cannot be decompressed ({one_line(error)}): it is truncated or "
            "damaged; download it again."
        ) from error


class _Decompressed(io.RawIOBase):
    """Content of a compressed file; reading past the size limit raises an error."""

    def __init__(self, path: Path):
        self._path = path
        self._file = COMPRESSED[path.suffix](path, "rb")
        self._max_size = max_decompressed_bytes(path)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self._file.readinto(buffer)
        self._size += count
        if self._size > self._max_size:
            check_size(self._path, self._size)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
