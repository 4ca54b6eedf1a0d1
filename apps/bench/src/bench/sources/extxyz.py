"""Extended XYZ, plain or compressed, frame by frame."""

import codecs
import io
import itertools
import lzma
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ase
from ase.data import chemical_symbols
from ase.io.extxyz import read_xyz

from bench.exceptions import BenchError, one_line
from bench.sources.ase_atoms import row_of
from bench.sources.comment_line import LITERAL, parse_comment
from bench.sources.elements import atomic_number
from bench.sources.limits import COMPRESSED, unpacked
from bench.sources.lines import LONGEST_LINE, is_cut, next_lines
from bench.sources.reading import Reading
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import BLOCK, Unit, attempt, first_word, names_of

MOST_ATOMS = 10_000_000
"""Of a frame; a larger number is a damaged one: the file would be read at once."""


MOST_BLANK = 1000
"""Blank lines in front of a frame."""


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
        own = names_of(self.files, first_word)[path]
        prefix = f"{own}/" if len(self.files) > 1 else ""
        last = None if unit.stop < 0 else unit.stop - unit.start
        with _opened(path, int(unit.at or 0)) as file:
            frames = itertools.islice(_frames(file, path, unit.start), last)
            for number, lines in enumerate(frames, unit.start):
                where = f"Frame {number} of {path}"
                id = f"{prefix}{number:07d}"
                yield attempt(where, self._row, lines, id)

    def _row(self, lines: list[bytes], id: str) -> Row:
        if any(map(is_cut, lines)):
            raise RowError(f"it has a line of more than {LONGEST_LINE >> 20} MiB")
        if int(lines[0]) != len(lines) - 2:
            raise RowError(
                f"it ends after {max(len(lines) - 2, 0)} of {int(lines[0])} atoms"
            )
        _check_columns(lines)
        literal = [getattr(self.reading, name) or name for name in LITERAL]
        atoms, comment = _parsed(lines, literal)
        _check_keys(comment)
        # ASE keeps the upper triangle of a stress: the row checks that it is symmetric.
        full = {"stress": comment["stress"]} if "stress" in comment else {}
        return row_of(atoms, self.reading, id, None, full)


def _parsed(lines: list[bytes], literal: list[str]) -> tuple[ase.Atoms, dict[str, Any]]:
    """A frame as ASE reads it, and all that its comment line says."""
    comment: dict[str, Any] = {}

    def parse(line: str) -> dict[str, Any]:
        try:
            comment.update(parse_comment(line, literal))
        except ValueError as error:
            # What ASE says of names that it knows as matrices.
            if "special 3x3 matrix" not in str(error):
                raise
            raise _no_matrix(str(error)) from None
        return dict(comment)

    read = lambda text: next(read_xyz(io.StringIO(text), 0, properties_parser=parse))
    text = _text(b"".join(lines))
    try:
        return read(text), comment
    except KeyError:
        # What ASE says of a symbol that it does not know.
        return read(_with_known_symbols(text)), comment


def _no_matrix(error: str) -> RowError:
    name = next((n for n in ("Lattice", "virial") if n in error), "stress")
    hint = "" if name == "Lattice" else f", or call it otherwise and give --{name}-key"
    order = (
        "" if name == "Lattice" else " (six are read in the order xx yy zz yz xz xy)"
    )
    return RowError(f"its `{name}` is not nine numbers: write all nine{hint}{order}")


def _text(content: bytes) -> str:
    """Decoded text; what is not UTF-8 is taken for Latin-1, which reads all bytes."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _with_known_symbols(text: str) -> str:
    """A frame with its symbols replaced by those of their elements.

    Raises:
        RowError: names the symbol that is none.
    """
    count, comment, *atoms = text.split("\n")
    announced = re.search(r"Properties=\"?([^\s\"]+)", comment)
    names = (announced[1] if announced else "species:S:1:pos:R:3").split(":")
    if "species" not in names[::3]:
        return text
    column = sum(int(width) for width in names[2 : names.index("species") : 3])
    lines = []
    for i, line in enumerate(atoms):
        words = line.split()
        if words:
            words[column] = chemical_symbols[atomic_number(words[column], i)]
        lines.append(" ".join(words))
    return "\n".join([count, comment, *lines])


def _check_columns(lines: list[bytes]) -> None:
    """Refuses columns that are not there: ASE makes room for all that are announced.

    It drops those that are not announced: they may be charges or forces.
    """
    announced = re.search(rb"Properties=\"?([^\s\"]+)", lines[1])
    counts = [b"4"] if announced is None else announced[1].split(b":")[2::3]
    if announced and not all(c.isdigit() and len(c) < 10 for c in counts):
        raise RowError(f"its columns are announced as {announced[1][:60]!r}")
    atoms, expected = lines[2:], sum(map(int, counts))
    # All lines at once: one after the other takes longer than to read them.
    if len(b" ".join(atoms).split()) == expected * len(atoms):
        return
    wrong = next(n for n in (len(a.split()) for a in atoms) if n != expected)
    if announced is None and wrong > expected:
        raise RowError(
            f"its atoms have {wrong} columns, and line 2 names none of them: add "
            "Properties=species:S:1:pos:R:3 and on, such as :forces:R:3"
        )
    raise RowError(f"its atoms have {wrong} columns, {expected} are announced")


def _check_keys(comment: Mapping[str, Any]) -> None:
    """Refuses a cell or columns under a name that extended XYZ does not know."""
    for key in comment:
        name = {"cell": "Lattice"}.get(key.lower(), key.capitalize())
        if name in ("Lattice", "Properties") and name not in comment:
            raise RowError(
                f"line 2 has `{key}`, which extended XYZ calls `{name}`: rename it"
            )


def _opened(path: Path, offset: int) -> IO[bytes]:
    file = unpacked(path)
    if offset:
        file.seek(offset)
    return file


def _stretches(path: Path) -> list[Unit]:
    """A unit for every `BLOCK` frames, found by counting lines."""
    starts, number = [], 0
    with _opened(path, 0) as file:
        while True:
            offset = file.tell()
            atoms = _atoms(_head(file))
            if atoms is None:
                break
            if number % BLOCK == 0:
                starts.append(offset)
            number += 1
            for _ in next_lines(file, atoms + 1):
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


def _head(file: IO[bytes]) -> bytes:
    """The next line that is not blank; nothing at the end of the file.

    A byte-order mark, which begins some files, is skipped.
    """
    for line in next_lines(file, MOST_BLANK):
        if line.strip():
            return line.removeprefix(codecs.BOM_UTF8)
    return next(next_lines(file, 1), b"")


def _atoms(line: bytes) -> int | None:
    """The number of atoms on a line, None on any other."""
    if not line.strip().isdigit() or len(line) > 20 or int(line) > MOST_ATOMS:
        return None
    return int(line)


def _frames(file: IO[bytes], path: Path, number: int) -> Iterator[list[bytes]]:
    """The lines of each frame; of the last one, as many as there are."""
    try:
        while line := _head(file):
            atoms = _atoms(line)
            if atoms is None:
                raise BenchError(
                    f"{path} cannot be read as extxyz: where frame {number} should "
                    f"begin with a number of atoms stands {line[:30]!r}; check that it "
                    "is a complete extended XYZ file."
                )
            yield [line, *next_lines(file, atoms + 1)]
            number += 1
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BenchError(
            f"{path} cannot be unpacked from frame {number} on ({one_line(error)}): it "
            "is truncated or damaged; fetch it again."
        ) from error
