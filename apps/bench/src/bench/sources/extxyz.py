"""Reader of extended XYZ files, plain or compressed."""

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
from bench.settings.reading import ReadOptions
from bench.sources.ase_atoms import row_from_atoms
from bench.sources.comment_line import STRING_KEYS, parse_comment
from bench.sources.decompression import COMPRESSED, open_decompressed
from bench.sources.elements import atomic_number
from bench.sources.lines import MAX_LINE_BYTES, is_cut, next_lines
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import (
    ROWS_PER_RANGE,
    RowRange,
    build_or_reject,
    name_before_dot,
    unique_names,
)

MAX_ATOMS = 10_000_000
"""Atoms per frame; a damaged digit must not make the rest of a file one frame."""

MAX_BLANK_LINES = 1000
"""Blank lines before a frame."""


class ExtendedXYZ(NamedTuple):
    """Extended XYZ files; a frame without a group is a group of its own."""

    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "extxyz"

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges of frames with their byte offset; one per compressed file."""
        ranges = []
        for path in self.files:
            if path.suffix in COMPRESSED:
                ranges.append(RowRange(str(path)))
            else:
                ranges += _scan(path)
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the frames of a range.

        Raises:
            BenchError: a frame does not begin with a number of atoms.
        """
        path = Path(row_range.path)
        name = unique_names(self.files, name_before_dot)[path]
        prefix = f"{name}/" if len(self.files) > 1 else ""
        count = None if row_range.stop < 0 else row_range.stop - row_range.start
        with _open(path, int(row_range.entry_point or 0)) as file:
            frames = itertools.islice(_frames(file, path, row_range.start), count)
            for number, lines in enumerate(frames, row_range.start):
                location = f"Frame {number} of {path}"
                id = f"{prefix}{number:07d}"
                yield build_or_reject(location, self._row, lines, id)

    def _row(self, lines: list[bytes], id: str) -> Row:
        if any(map(is_cut, lines)):
            raise RowError(f"it has a line of more than {MAX_LINE_BYTES >> 20} MiB")
        if int(lines[0]) != len(lines) - 2:
            raise RowError(
                f"it ends after {max(len(lines) - 2, 0)} of {int(lines[0])} atoms"
            )
        _check_columns(lines)
        string_keys = [self.options.keys.get(label) or label for label in STRING_KEYS]
        atoms, comment = _parse(lines, string_keys)
        _check_keys(comment)
        # ASE drops the lower triangle, but `Row` checks that the stress is symmetric.
        full_stress = {"stress": comment["stress"]} if "stress" in comment else {}
        return row_from_atoms(atoms, self.options, id, None, full_stress)


def _parse(
    lines: list[bytes], string_keys: list[str]
) -> tuple[ase.Atoms, dict[str, Any]]:
    """Returns a frame as ASE reads it, and the values of its comment line."""
    comment: dict[str, Any] = {}

    def parse_properties(line: str) -> dict[str, Any]:
        try:
            comment.update(parse_comment(line, string_keys))
        except ValueError as error:
            # The message of ASE for keys whose values must be matrices.
            if "special 3x3 matrix" not in str(error):
                raise
            raise _no_matrix_error(str(error)) from None
        return dict(comment)

    read = lambda text: next(
        read_xyz(io.StringIO(text), 0, properties_parser=parse_properties)
    )
    text = _decode(b"".join(lines))
    try:
        return read(text), comment
    except KeyError:
        # ASE raises it for an unknown symbol.
        return read(_with_element_symbols(text)), comment


def _no_matrix_error(error: str) -> RowError:
    name = next((n for n in ("Lattice", "virial") if n in error), "stress")
    hint = "" if name == "Lattice" else f", or rename it and give --{name}-key"
    order = (
        "" if name == "Lattice" else " (six are read in the order xx yy zz yz xz xy)"
    )
    return RowError(f"its `{name}` is not nine numbers: write all nine{hint}{order}")


def _decode(content: bytes) -> str:
    """Decodes UTF-8, or else Latin-1, in which all bytes are valid."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _with_element_symbols(text: str) -> str:
    """Returns a frame with isotopes and lower-case symbols replaced by element symbols.

    Raises:
        RowError: a symbol is not that of an element.
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
    """Checks that atoms have as many columns as announced.

    ASE allocates memory for all announced columns, and drops further ones, which may be
    charges or forces.
    """
    announced = re.search(rb"Properties=\"?([^\s\"]+)", lines[1])
    counts = [b"4"] if announced is None else announced[1].split(b":")[2::3]
    if announced and not all(c.isdigit() and len(c) < 10 for c in counts):
        raise RowError(f"its columns are announced as {announced[1][:60]!r}")
    atoms, expected = lines[2:], sum(map(int, counts))
    # All lines at once: a loop would take longer than reading them.
    if len(b" ".join(atoms).split()) == expected * len(atoms):
        return
    actual = next(n for n in (len(a.split()) for a in atoms) if n != expected)
    if announced is None and actual > expected:
        raise RowError(
            f"its atoms have {actual} columns, and line 2 has no `Properties`: add "
            "Properties=species:S:1:pos:R:3, followed by the others, such as "
            ":forces:R:3"
        )
    raise RowError(f"its atoms have {actual} columns, {expected} are announced")


def _check_keys(comment: Mapping[str, Any]) -> None:
    """Checks that cell and columns have the keys of extended XYZ."""
    for key in comment:
        name = {"cell": "Lattice"}.get(key.lower(), key.capitalize())
        if name in ("Lattice", "Properties") and name not in comment:
            raise RowError(
                f"line 2 has `{key}`, which extended XYZ calls `{name}`: rename it"
            )


def _open(path: Path, offset: int) -> IO[bytes]:
    file = open_decompressed(path)
    if offset:
        file.seek(offset)
    return file


def _scan(path: Path) -> list[RowRange]:
    """Returns a range for every `ROWS_PER_RANGE` frames, by counting lines."""
    offsets, number = [], 0
    with _open(path, 0) as file:
        while True:
            offset = file.tell()
            atoms = _atom_count(_next_nonblank(file))
            if atoms is None:
                break
            if number % ROWS_PER_RANGE == 0:
                offsets.append(offset)
            number += 1
            for _ in next_lines(file, atoms + 1):
                pass
    # The last range has no end, so that content after the last frame is an error.
    return [
        RowRange(
            str(path),
            i * ROWS_PER_RANGE,
            -1 if offset == offsets[-1] else (i + 1) * ROWS_PER_RANGE,
            str(offset),
        )
        for i, offset in enumerate(offsets)
    ] or [RowRange(str(path))]


def _next_nonblank(file: IO[bytes]) -> bytes:
    """Returns the next line that is not blank, without a byte-order mark.

    Returns no bytes at the end of the file.
    """
    for line in next_lines(file, MAX_BLANK_LINES):
        if line.strip():
            return line.removeprefix(codecs.BOM_UTF8)
    return next(next_lines(file, 1), b"")


def _atom_count(line: bytes) -> int | None:
    """Returns the number of atoms in the first line of a frame; None if invalid."""
    if not line.strip().isdigit() or len(line) > 20 or int(line) > MAX_ATOMS:
        return None
    return int(line)


def _frames(file: IO[bytes], path: Path, number: int) -> Iterator[list[bytes]]:
    """Yields the lines of each frame; the last one may be incomplete."""
    try:
        while line := _next_nonblank(file):
            atoms = _atom_count(line)
            if atoms is None:
                raise BenchError(
                    f"{path} cannot be read as extxyz: frame {number} should begin "
                    f"with a number of atoms, got {line[:30]!r}; check that the file "
                    "is complete extended XYZ."
                )
            yield [line, *next_lines(file, atoms + 1)]
            number += 1
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BenchError(
            f"{path} cannot be decompressed from frame {number} on "
            f"({one_line(error)}): it is truncated or damaged; download it again."
        ) from error
