"""Reader of CIFs, also in zip files, with further columns such as charges."""

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
from bench.settings.reading import DEFAULT_KEYS, ReadOptions
from bench.sources.cif_images import apply_operations
from bench.sources.cif_sites import (
    check_ordered,
    fractional_coordinates,
    numeric_columns,
    site_atomic_numbers,
    site_columns,
)
from bench.sources.cif_symmetry import first_value, symmetry_operations
from bench.sources.decompression import check_size
from bench.sources.row import Rejected, Row, RowError
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import (
    RowRange,
    build_or_reject,
    split_into_ranges,
    stem,
    unique_names,
)

CELL_TAGS = tuple(
    f"_cell_{parameter}"
    for parameter in (
        *("length_a", "length_b", "length_c"),
        *("angle_alpha", "angle_beta", "angle_gamma"),
    )
)
DATA_BLOCK = re.compile(
    rb"^(?:\xef\xbb\xbf)?[ \t]*(data_)", re.MULTILINE | re.IGNORECASE
)
MAX_CIF_BYTES = 1 << 26
LABEL_KEYS = DEFAULT_KEYS | {"charges": ("pbe_ddec_charge", "charge"), "group": ()}
TO_ASCII = bytes(range(128)) + b"?" * 128
"""Translation table of bytes: other characters occur only in values not read."""


class _CifFile(NamedTuple):
    """A CIF: its location for messages, the id of its structure, and how to open it."""

    location: str
    id: str
    open: Callable[[], IO[bytes]]


class CifFiles(NamedTuple):
    """CIFs of relaxed structures, grouped by reduced formula.

    Args:
        files: CIFs, and zip files of CIFs.
        options: keys and units of the labels.
        energies: total energies from a table, eV, by name of the structure.
    """

    files: tuple[Path, ...]
    options: ReadOptions
    energies: tuple[tuple[str, float | None], ...] = ()
    format: str = "cif"

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges of the list of CIFs, and of the members of zip files."""
        cifs = [path for path in self.files if path.suffix != ".zip"]
        ranges = split_into_ranges("", len(cifs))
        for path in self.files:
            if path.suffix == ".zip":
                ranges += split_into_ranges(str(path), len(_members(path)))
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the structures of a range; a file may hold more than one."""
        energies = dict(self.energies)
        part = slice(row_range.start, row_range.stop)
        if not row_range.path:
            cifs = [path for path in self.files if path.suffix != ".zip"]
            names = unique_names(tuple(cifs), stem)
            for path in cifs[part]:
                values = self._values(energies, path)
                file = _CifFile(
                    str(path), names[path], functools.partial(path.open, "rb")
                )
                yield from _rows(file, values, self.options)
            return
        with zipfile.ZipFile(row_range.path) as archive:
            members = _members(Path(row_range.path))
            names = unique_names(tuple(map(Path, members)), stem)
            for name in members[part]:
                values = self._values(energies, Path(name))
                open_member = functools.partial(archive.open, name)
                file = _CifFile(
                    f"{name} in {row_range.path}", names[Path(name)], open_member
                )
                yield from _rows(file, values, self.options)

    def _values(
        self, energies: Mapping[str, float | None], path: Path
    ) -> dict[str, float | None]:
        return {self.options.keys.get("energy", "energy"): energies.get(path.stem)}


def _members(path: Path) -> list[str]:
    """Returns the names of all CIFs in a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".cif")]
    except (OSError, zipfile.BadZipFile) as error:
        raise BenchError(
            f"{path} cannot be opened as zip ({one_line(error)})."
        ) from error
    check_size(
        path, sum(member.file_size for member in members), "the total of its CIFs"
    )
    names = sorted(member.filename for member in members)
    return [n for n in names if not n.startswith("__MACOSX")]


def _rows(
    file: _CifFile, values: Mapping[str, Any], options: ReadOptions
) -> Iterator[Row | Rejected]:
    """Yields the structures of one CIF."""
    blocks = build_or_reject(file.location, _blocks, file.open)
    if isinstance(blocks, Rejected):
        yield blocks
        return
    for block in blocks:
        id, location = file.id, file.location
        if len(blocks) > 1:
            id = f"{id}/{block.name}"
            location = f"Block {block.name} of {location}"
        yield build_or_reject(location, _row, block, id, values, options)


def _blocks(open_cif: Callable[[], IO[bytes]]) -> list[cif.Block]:
    """Returns the blocks of a CIF that contain structures, at least one."""
    with open_cif() as file:
        text = file.read(MAX_CIF_BYTES + 1)
    if len(text) > MAX_CIF_BYTES:
        raise RowError(f"it is larger than {MAX_CIF_BYTES >> 20} MiB")
    # Some programs write a line before the first block.
    start = DATA_BLOCK.search(text)
    if start is None:
        raise RowError("it is no CIF: no line begins with `data_`")
    first = start.start(1)
    try:
        document = cif.read_string(text[first:].translate(TO_ASCII))
    except (RuntimeError, ValueError) as error:
        line = text.count(b"\n", 0, first) + 1
        offset = f" (line 1 of `data` is line {line} of the file)" * (line > 1)
        raise RowError(f"it is no valid CIF: {one_line(error)}{offset}") from None
    blocks = [block for block in document if site_columns(block) is not None]
    if not blocks:
        raise RowError("it contains no structure: no sites with coordinates")
    return blocks


def _row(
    block: cif.Block, id: str, values: Mapping[str, Any], options: ReadOptions
) -> Row:
    """Returns the row of a block, with all symmetry-equivalent atoms."""
    columns = site_columns(block)
    assert columns is not None
    cell = _cell(block)
    operations = symmetry_operations(block, cell)
    check_ordered(columns, symmetric=len(operations) > 1)
    numbers, sites = site_atomic_numbers(columns), numeric_columns(columns)
    fractional = fractional_coordinates(columns, cell)
    if len(operations) > 1:
        fractional, indices = apply_operations(fractional, operations, cell)
        numbers = numbers[indices]
        sites = {name: column[indices] for name, column in sites.items()}
    return build_row(
        Geometry(numbers, fractional @ cell, cell, True),
        {**sites, **values},
        options,
        id=id,
        group=reduced_formula(numbers),
        default_keys=LABEL_KEYS,
    )


def _cell(block: cif.Block) -> np.ndarray:
    """Returns lattice vectors as rows, Å."""
    parameters = [cif.as_number(first_value(block, (tag,)) or "?") for tag in CELL_TAGS]
    valid = (np.array(parameters) > 0) & np.isfinite(parameters)
    if not valid.all():
        raise RowError(
            f"its {CELL_TAGS[np.argmin(valid)]} is missing or is no length or angle"
        )
    try:
        return cellpar_to_cell(parameters)
    except AssertionError:
        raise RowError(f"its angles {parameters[3:]} do not form a cell") from None


def reduced_formula(numbers: Any) -> str:
    """Returns the formula with the smallest integers, in Hill order.

    Args:
        numbers: atomic numbers, `(atoms,)`.
    """
    symbols = "".join(chemical_symbols[int(z)] for z in sorted(np.asarray(numbers)))
    return Formula(symbols).reduce()[0].format("hill")


def read_energy_column(path: Path, column: str) -> dict[str, float | None]:
    """Returns a column of a CSV file by the first column; empty fields are None.

    Args:
        path: path of the file, whose first row is a header.
        column: name of the column of energies, eV.

    Raises:
        BenchError: there is no such column, or a value is not a number.
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
