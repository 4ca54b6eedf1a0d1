"""What a file may unpack to, so that a small one cannot fill a machine."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path

from bench.exceptions import BenchError, one_line
from bench.sources.xz import Xz

ALLOWANCE = 1 << 28
"""Bytes that every file may unpack to."""

RATIO = 200
"""Bytes more for each byte on disk; published sets unpack to less than 50."""

SMALLEST_ROW = 64
"""Bytes that a row of an array counts as where the array has rows, but no numbers."""


COMPRESSED = {".xz": Xz, ".gz": gzip.open, ".bz2": bz2.open}
"""What opens a file, by its last suffix."""


def most_bytes(path: Path | str) -> int:
    """Bytes that a file may unpack to.

    Args:
        path: of the file.
    """
    return ALLOWANCE + RATIO * Path(path).stat().st_size


def check_size(path: Path | str, size: int, what: str = "it") -> None:
    """Refuses a file that is far larger once unpacked than on disk.

    Args:
        path: of the file.
        size: bytes once unpacked, as far as known.
        what: part of the file that is named.

    Raises:
        BenchError: there are too many of them.
    """
    if size > most_bytes(path):
        raise BenchError(
            f"{path} is refused: {what} takes {size >> 20} MiB or more once unpacked, "
            f"of {Path(path).stat().st_size} bytes on disk; at most "
            f"{ALLOWANCE >> 20} MiB and {RATIO} times the file are unpacked. Store it "
            "without compression if it is meant so."
        )


def unpacked(path: Path) -> io.BufferedReader:
    """A file opened for reading, unpacked if its name says so.

    Args:
        path: of the file.

    Raises:
        BenchError: when it is read, if it unpacks to more than `most_bytes`.
    """
    if path.suffix not in COMPRESSED:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path), 1 << 17)


def check_unpacked(path: Path) -> None:
    """Refuses a file that unpacks to too much, for readers that unpack it themselves.

    Args:
        path: of the file.

    Raises:
        BenchError: it unpacks to more than `most_bytes`, or cannot be unpacked.
    """
    if path.suffix not in COMPRESSED:
        return
    try:
        with unpacked(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise BenchError(
            f"{path} cannot be unpacked ({one_line(error)}): it is truncated or "
            "damaged; fetch it again."
        ) from error


class _Unpacked(io.RawIOBase):
    """The content of a compressed file as long as it is not too large."""

    def __init__(self, path: Path):
        self._path = path
        self._file = COMPRESSED[path.suffix](path, "rb")
        self._most = most_bytes(path)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self._file.readinto(buffer)
        self._size += count
        if self._size > self._most:
            check_size(self._path, self._size)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
