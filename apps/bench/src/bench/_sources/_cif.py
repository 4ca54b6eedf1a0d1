"""Folders and zip files of CIFs, whose atoms may carry charges as extra columns."""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from ase.io.cif import parse_cif

from .._errors import BenchError, in_short
from ._reading import DEFAULTS, Geometry, Reading, read_row
from ._row import Rejected, Row, RowError
from ._source import Unit, attempt, blocks

SITE = "_atom_site_"
OPERATIONS = (
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
)
LARGEST_CIF = 1 << 26
NAMES = DEFAULTS | {"charges": ("pbe_ddec_charge", "charge"), "group": ()}


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
        """The structures of a stretch."""
        energies = dict(self.energies)
        for name, text in self._texts(unit):
            stem = Path(name.split(" in ")[0]).stem
            values = {self.reading.energy or "energy": energies.get(stem)}
            yield attempt(name, row_of_cif, name, text, values, self.reading)

    def _texts(self, unit: Unit) -> Iterator[tuple[str, bytes]]:
        part = slice(unit.start, unit.stop)
        if not unit.path:
            plain = [path for path in self.files if path.suffix != ".zip"]
            for path in plain[part]:
                yield str(path), path.read_bytes()
            return
        with zipfile.ZipFile(unit.path) as archive:
            for name in _members(Path(unit.path))[part]:
                with archive.open(name) as member:
                    yield f"{name} in {unit.path}", member.read(LARGEST_CIF)


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".cif"))
    except (OSError, zipfile.BadZipFile) as error:
        raise BenchError(
            f"{path} cannot be opened as zip ({in_short(error)})."
        ) from error
    return [n for n in names if not n.startswith("__MACOSX")]


def row_of_cif(
    name: str, text: bytes, values: Mapping[str, Any], reading: Reading
) -> Row:
    """The row of a CIF.

    Args:
        name: of the file; its stem is the id.
        text: of the file.
        values: labels that stand elsewhere.
        reading: names and units that were given.
    """
    if len(text) >= LARGEST_CIF:
        raise RowError(f"it is larger than {LARGEST_CIF >> 20} MiB")
    block = next(parse_cif(io.StringIO(text.decode()), reader="ase"), None)
    if block is None:
        raise RowError("it holds no structure")
    columns: dict[str, Any] = {
        k.removeprefix(SITE): v for k, v in block.items() if k.startswith(SITE)
    }
    if any(float(o) < 1 for o in columns.get("occupancy", ()) if o != "?"):
        raise RowError("sites are partly occupied: give ordered structures")
    operations = next((block[k] for k in OPERATIONS if k in block), None)
    plain = operations is None or len(np.atleast_1d(np.array(operations))) == 1
    # Looking for symmetric images of every site takes ASE seconds for a large cell.
    atoms = block.get_unsymmetrized_structure() if plain else block.get_atoms()
    sites = {k: np.array(v) for k, v in columns.items() if _numeric(v)}
    wrong = [k for k, v in sites.items() if len(v) != len(atoms)]
    if wrong:
        sites = {k: v for k, v in sites.items() if k not in wrong}
        chosen = reading.charges or next(
            (c for c in NAMES["charges"] if c in wrong), None
        )
        if chosen in wrong:
            raise RowError(
                f"its symmetry makes {len(atoms)} atoms of fewer sites, so `{chosen}` "
                "cannot be assigned: give it in P1"
            )
    return read_row(
        Geometry(atoms.numbers, atoms.positions, atoms.cell.array, True),
        {**sites, **values},
        reading,
        id=Path(name.split(" in ")[0]).stem,
        group=reduced_formula(atoms.numbers),
        defaults=NAMES,
    )


def _numeric(values: Any) -> bool:
    return bool(values) and all(isinstance(v, int | float) for v in values)


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
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        names = table.fieldnames or []
        if column not in names:
            raise BenchError(
                f"{path} has no column {column!r}: it has {', '.join(names)}."
            )
        try:
            return {
                row[names[0]]: float(row[column]) if row[column] else None
                for row in table
            }
        except (ValueError, csv.Error) as error:
            raise BenchError(
                f"{path}: {in_short(error)} in line {table.line_num}."
            ) from error
