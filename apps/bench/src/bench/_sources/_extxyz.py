"""Extended XYZ, plain or compressed, frame by frame."""

import bz2
import gzip
import io
import itertools
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ase.io.extxyz import read_xyz

from .._errors import BenchError, in_short
from ._atoms import row_of
from ._reading import Reading
from ._row import Rejected, Row, RowError
from ._source import BLOCK, Unit, attempt

COMPRESSED = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
LONGEST_LINE = 1 << 22
MOST_ATOMS = 10_000_000
"""Of a frame; a larger number is a damaged one: the file would be read at once."""


class ExtendedXYZ(NamedTuple):
    """Extended XYZ files; a frame without a group stands alone."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "extxyz"

    def units(self) -> list[Unit]:
        """Stretches of frames with the byte where they begin; one a compressed file."""
        found = []
        for path in self.files:
            if path.suffix in COMPRESSED:
                found.append(Unit(str(path)))
            else:
                found += _stretches(path)
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The frames of a stretch.

        Raises:
            BenchError: a line that should hold a number of atoms holds something else.
        """
        path = Path(unit.path)
        prefix = f"{path.name.split('.')[0]}/" if len(self.files) > 1 else ""
        last = None if unit.stop < 0 else unit.stop - unit.start
        with _opened(path, int(unit.at or 0)) as file:
            frames = itertools.islice(_frames(file, path, unit.start), last)
            for number, lines in enumerate(frames, unit.start):
                where = f"Frame {number} of {path}"
                id = f"{prefix}{number:07d}"
                yield attempt(where, self._row, lines, id)

    def _row(self, lines: list[bytes], id: str) -> Row:
        if int(lines[0]) != len(lines) - 2:
            raise RowError(
                f"it ends after {max(len(lines) - 2, 0)} of {int(lines[0])} atoms"
            )
        _check_columns(lines)
        text = io.StringIO(b"".join(lines).decode())
        return row_of(next(read_xyz(text, 0)), self.reading, id, None)


def _check_columns(lines: list[bytes]) -> None:
    """Refuses columns that are not there: ASE makes room for all that are announced."""
    announced = re.search(rb"Properties=\"?([^\s\"]+)", lines[1])
    if announced is not None and len(lines) > 2:
        counts = announced[1].split(b":")[2::3]
        if not all(c.isdigit() and len(c) < 10 for c in counts):
            raise RowError(f"its columns are announced as {announced[1][:60]!r}")
        expected, found = sum(map(int, counts)), len(lines[2].split())
        if expected != found:
            raise RowError(f"its atoms have {found} columns, {expected} are announced")


def _opened(path: Path, offset: int) -> IO[bytes]:
    file = COMPRESSED.get(path.suffix, open)(path, "rb")
    file.seek(offset)
    return file


def _stretches(path: Path) -> list[Unit]:
    """A unit for every `BLOCK` frames, found by counting lines."""
    starts, number = [], 0
    with path.open("rb") as file:
        while True:
            offset = file.tell()
            atoms = _atoms(file.readline(LONGEST_LINE))
            if atoms is None:
                break
            if atoms >= 0:
                if number % BLOCK == 0:
                    starts.append(offset)
                number += 1
                for _ in itertools.islice(file, atoms + 1):
                    pass
    # Whatever stands behind the last frame is read, and complained of, with it.
    return [
        Unit(
            str(path),
            i * BLOCK,
            -1 if offset == starts[-1] else (i + 1) * BLOCK,
            str(offset),
        )
        for i, offset in enumerate(starts)
    ] or [Unit(str(path))]


def _atoms(line: bytes) -> int | None:
    """The number of atoms on a line; -1 on a blank one, None on any other."""
    if line and not line.strip():
        return -1
    if not line.strip().isdigit() or len(line) > 20 or int(line) > MOST_ATOMS:
        return None
    return int(line)


def _frames(file: IO[bytes], path: Path, number: int) -> Iterator[list[bytes]]:
    """The lines of each frame; of the last one, as many as there are."""
    try:
        while line := file.readline(LONGEST_LINE):
            atoms = _atoms(line)
            if atoms is None:
                raise BenchError(
                    f"{path} cannot be read as extxyz: where frame {number} should "
                    f"begin with a number of atoms stands {line[:30]!r}; check that it "
                    "is a complete extended XYZ file."
                )
            if atoms >= 0:
                yield [line, *itertools.islice(file, atoms + 1)]
                number += 1
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BenchError(
            f"{path} cannot be unpacked from frame {number} on ({in_short(error)}): it "
            "is truncated or damaged; fetch it again."
        ) from error
