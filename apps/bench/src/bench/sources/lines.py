"""Lines of text, none of which fills memory."""

from collections.abc import Iterator
from typing import IO

LONGEST_LINE = 1 << 20
"""Bytes; a comment of extended XYZ takes thousands."""


def next_lines(file: IO[bytes], count: int) -> Iterator[bytes]:
    """Up to so many lines; of one that is too long the beginning, without its end.

    Args:
        file: open for reading.
        count: lines at most.
    """
    for _ in range(count):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if is_cut(line):
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        yield line


def is_cut(line: bytes) -> bool:
    """Whether a line went on where it was cut.

    Args:
        line: as `next_lines` gave it.
    """
    return len(line) == LONGEST_LINE and not line.endswith(b"\n")
