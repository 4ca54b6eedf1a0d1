"""Folders and zip files of CIFs, whose atoms may carry charges as extra columns."""

import csv
import functools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from ase.geometry import cellpar_to_cell
from gemmi import cif

from bench.exceptions import BenchError, one_line
from bench.sources.cif_sites import (
    check_order,
    columns_of,
    coordinates_of,
    numbers_of,
    values_of,
)
from bench.sources.cif_symmetry import expand, operations_of, text_of
from bench.sources.limits import check_size
from bench.sources.reading import DEFAULTS, Geometry, Reading, read_row
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import Unit, attempt, blocks, names_of, stem

CELL = tuple(
    f"_cell_{kind}"
    for kind in (
        *("length_a", "length_b", "length_c"),
        *("angle_alpha", "angle_beta", "angle_gamma"),
    )
)
BEGIN = re.compile(rb"^(?:\xef\xbb\xbf)?[ \t]*(data_)", re.MULTILINE | re.IGNORECASE)
LARGEST_CIF = 1 << 26
NAMES = DEFAULTS | {"charges": ("pbe_ddec_charge", "charge"), "group": ()}
ASCII = bytes(range(128)) + b"?" * 128
"""Of every byte, what the parser sees: no text that is kept needs more letters."""


class _File(NamedTuple):
    """A CIF: how people call it, the id of its structure, and what opens it."""

    where: str
    id: str
    opened: Callable[[], IO[bytes]]


class Cifs(NamedTuple):
    """CIFs of relaxed structures; one formula is one group.

    Args:
        files: CIFs, and zip files of CIFs.
        reading: names and units that were given.
        energies: eV by name of the structure, if a table of them lies beside.
    """

    files: tuple[Path, ...]
    reading: Reading
    energies: tuple[tuple[str, float | None], ...] = ()
    format: str = "cif"

    def units(self) -> list[Unit]:
        """Stretches of the list of CIFs, or of a zip file's."""
        plain = [path for path in self.files if path.suffix != ".zip"]
        found = blocks("", len(plain))
        for path in self.files:
            if path.suffix == ".zip":
                found += blocks(str(path), len(_members(path)))
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The structures of a stretch: a file with several of them is several rows."""
        energies = dict(self.energies)
        part = slice(unit.start, unit.stop)
        if not unit.path:
            plain = [path for path in self.files if path.suffix != ".zip"]
            names = names_of(tuple(plain), stem)
            for path in plain[part]:
                values = self._values(energies, path)
                file = _File(str(path), names[path], functools.partial(path.open, "rb"))
                yield from _rows(file, values, self.reading)
            return
        with zipfile.ZipFile(unit.path) as archive:
            members = _members(Path(unit.path))
            names = names_of(tuple(map(Path, members)), stem)
            for name in members[part]:
                values = self._values(energies, Path(name))
                opened = functools.partial(archive.open, name)
                file = _File(f"{name} in {unit.path}", names[Path(name)], opened)
                yield from _rows(file, values, self.reading)

    def _values(
        self, energies: Mapping[str, float | None], path: Path
    ) -> dict[str, float | None]:
        return {self.reading.energy or "energy": energies.get(path.stem)}


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".cif")]
    except (OSError, zipfile.BadZipFile) as error:
        raise BenchError(
            f"{path} cannot be opened as zip ({one_line(error)})."
        ) from error
    check_size(path, sum(member.file_size for member in members), "all CIFs in it")
    names = sorted(member.filename for member in members)
    return [n for n in names if not n.startswith("__MACOSX")]


def _rows(
    file: _File, values: Mapping[str, Any], reading: Reading
) -> Iterator[Row | Rejected]:
    """The structures of one CIF."""
    found = attempt(file.where, _blocks, file.opened)
    if isinstance(found, Rejected):
        yield found
        return
    for block in found:
        id, place = file.id, file.where
        if len(found) > 1:
            id, place = f"{id}/{block.name}", f"Block {block.name} of {place}"
        yield attempt(place, _row, block, id, values, reading)


def _blocks(opened: Callable[[], IO[bytes]]) -> list[cif.Block]:
    """The blocks of a CIF that hold structures, at least one."""
    with opened() as file:
        text = file.read(LARGEST_CIF + 1)
    if len(text) > LARGEST_CIF:
        raise RowError(f"it is larger than {LARGEST_CIF >> 20} MiB")
    # Some programs write a line of their own before the first block.
    start = BEGIN.search(text)
    if start is None:
        raise RowError("it is no CIF: no line begins with `data_`")
    first = start.start(1)
    try:
        document = cif.read_string(text[first:].translate(ASCII))
    except (RuntimeError, ValueError) as error:
        line = text.count(b"\n", 0, first) + 1
        where = f" (line 1 of `data` is line {line} of the file)" * (line > 1)
        raise RowError(f"it is no valid CIF: {one_line(error)}{where}") from None
    found = [block for block in document if columns_of(block) is not None]
    if not found:
        raise RowError("it holds no structure: no sites with coordinates")
    return found


def _row(block: cif.Block, id: str, values: Mapping[str, Any], reading: Reading) -> Row:
    """The row of a block, with all atoms that its symmetry makes."""
    columns = columns_of(block)
    assert columns is not None
    cell = _cell(block)
    operations = operations_of(block, cell)
    check_order(columns, symmetric=len(operations) > 1)
    numbers, sites = numbers_of(columns), values_of(columns)
    fractional = coordinates_of(columns, cell)
    if len(operations) > 1:
        fractional, origins = expand(fractional, operations, cell)
        numbers = numbers[origins]
        sites = {name: column[origins] for name, column in sites.items()}
    return read_row(
        Geometry(numbers, fractional @ cell, cell, True),
        {**sites, **values},
        reading,
        id=id,
        group=reduced_formula(numbers),
        defaults=NAMES,
    )


def _cell(block: cif.Block) -> np.ndarray:
    """Lattice vectors as rows, Å."""
    found = [cif.as_number(text_of(block, (tag,)) or "?") for tag in CELL]
    known = (np.array(found) > 0) & np.isfinite(found)
    if not known.all():
        raise RowError(
            f"its {CELL[np.argmin(known)]} is not given or no length or angle"
        )
    try:
        return cellpar_to_cell(found)
    except AssertionError:
        raise RowError(f"its angles {found[3:]} are those of no cell") from None


def reduced_formula(numbers: Any) -> str:
    """The formula with the smallest whole numbers, Hill order.

    Args:
        numbers: atomic numbers.
    """
    symbols = "".join(chemical_symbols[int(z)] for z in sorted(np.asarray(numbers)))
    return Formula(symbols).reduce()[0].format("hill")


def read_energies(path: Path, column: str) -> dict[str, float | None]:
    """A column of a csv file by its first column; empty fields are None.

    Args:
        path: with names in the first row.
        column: name of the energies, eV.

    Raises:
        BenchError: no such column, or a value that is no number.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        table = csv.DictReader(file)
        try:
            names = table.fieldnames or []
            if column not in names:
                raise BenchError(
                    f"{path} has no column {column!r}: it has {', '.join(names)}."
                )
            return {
                row[names[0]]: float(row[column]) if row[column] else None
                for row in table
            }
        except (ValueError, csv.Error) as error:
            raise BenchError(
                f"{path}: {one_line(error)} in line {table.line_num}."
            ) from error
