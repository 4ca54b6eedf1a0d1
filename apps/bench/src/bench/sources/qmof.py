"""The QMOF database as published: tables of properties, structures as JSON or CIF."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ijson
import numpy as np
from ase.data import atomic_numbers

from bench.exceptions import BenchError, one_line
from bench.sources.cif import NAMES, Cifs, read_energies, reduced_formula
from bench.sources.published import pointer
from bench.sources.reading import Geometry, Reading, read_row
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import Source, Unit, attempt

STRUCTURES = "qmof_structure_data.json"
CIFS = "relaxed_structures"
ENERGY = "outputs.pbe.energy_total"


class Qmof(NamedTuple):
    """The JSON of all structures, read as a stream, with energies of the table beside.

    Args:
        files: the JSON of structures, then the table (`qmof.json` or `qmof.csv`).
        reading: names and units that were given.
    """

    files: tuple[Path, ...]
    reading: Reading
    format: str = "qmof"

    def units(self) -> list[Unit]:
        """One unit, for a JSON file is entered at its beginning."""
        return [Unit(str(self.files[0]))]

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """All structures.

        Raises:
            BenchError: the JSON is truncated or holds something else.
        """
        energies = energies_of(self.files[1], self.reading)
        for number, entry in enumerate(_entries(Path(unit.path))):
            where = f"Structure {number} of {unit.path}"
            yield attempt(where, _row, entry, energies, self.reading)


def open_qmof(folder: Path, reading: Reading) -> Source:
    """The reader of a folder of the QMOF database.

    Args:
        folder: with `qmof.json` or `qmof.csv`.
        reading: names and units that were given.

    Raises:
        BenchError: the structures are missing.
    """
    table = next(folder / n for n in ("qmof.json", "qmof.csv") if (folder / n).exists())
    structures = folder / STRUCTURES
    if structures.exists():
        return Qmof((structures, table), reading)
    packed = folder / f"{CIFS}.zip"
    cifs = sorted((folder / CIFS).glob("*.cif")) or [packed] * packed.exists()
    if cifs:
        energies = energies_of(table, reading)
        return Cifs(tuple(cifs), reading, tuple(energies.items()))
    raise BenchError(
        f"{folder} has {table.name} but neither {STRUCTURES} nor {CIFS}/*.cif: unpack "
        f"all of qmof_database.zip there{pointer('qmof')}; `bench prepare --where` "
        "says more."
    )


def energies_of(table: Path, reading: Reading) -> dict[str, float | None]:
    """Total energy of every MOF, eV; None where the database has none.

    Args:
        table: `qmof.json` or `qmof.csv`.
        reading: its `energy` names another level, such as `outputs.hse06.energy_total`.
    """
    name = reading.energy or ENERGY
    if table.suffix == ".csv":
        return read_energies(table, name)
    found: dict[str, float | None] = {}
    for entry in _entries(table):
        value: Any = entry
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found[str(entry.get("qmof_id"))] = value
    return found


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    number = 0
    with path.open("rb") as file:
        try:
            for entry in ijson.items(file, "item", use_float=True):
                yield entry if isinstance(entry, dict) else {}
                number += 1
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise BenchError(
                f"{path} is truncated or damaged after {number} entries "
                f"({one_line(error)}): fetch it again."
            ) from error


def _row(
    entry: Mapping[str, Any], energies: Mapping[str, float | None], reading: Reading
) -> Row:
    own = entry.get("qmof_id")
    if not own or "structure" not in entry:
        raise RowError("it has no `qmof_id` or no `structure`")
    sites = entry["structure"]["sites"]
    if any(len(s["species"]) != 1 or s["species"][0]["occu"] != 1 for s in sites):
        raise RowError("sites are partly occupied: give ordered structures")
    symbols = [s["species"][0]["element"] for s in sites]
    unknown = set(symbols) - set(atomic_numbers)
    if unknown:
        raise RowError(f"there is no element {unknown.pop()!r}")
    numbers = np.array([atomic_numbers[s] for s in symbols])
    names = sites[0].get("properties", {}) if sites else {}
    values: dict[str, Any] = {k: [s["properties"].get(k) for s in sites] for k in names}
    values["energy"] = energies.get(own)
    if reading.energy is not None:
        values[reading.energy] = values["energy"]
    return read_row(
        Geometry(
            numbers,
            [s["xyz"] for s in sites],
            entry["structure"]["lattice"]["matrix"],
            True,
        ),
        {"name": entry.get("name"), **values},
        reading,
        id=own,
        group=reduced_formula(numbers),
        defaults=NAMES,
    )
