"""Reads lines of text in bounded memory."""

from collections.abc import Iterator
from typing import IO

MAX_LINE_BYTES = 1 << 20
"""Longer lines are cut; comments of extended XYZ have thousands of bytes."""


def next_lines(file: IO[bytes], count: int) -> Iterator[bytes]:
    """Yields the next lines, cut to `MAX_LINE_BYTES`.

    Args:
        file: open for reading.
        count: largest number of lines.
    """
    for _ in range(count):
        line = file.readline(MAX_LINE_BYTES)
        if not line:
            return
        if is_cut(line):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield line


def is_cut(line: bytes) -> bool:
    """Returns whether a line was longer than `MAX_LINE_BYTES`.

    Args:
        line: line returned by `next_lines`.
    """
    return len(line) == MAX_LINE_BYTES and not line.endswith(b"\n")
