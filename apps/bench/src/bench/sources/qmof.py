"""Reader of the published QMOF database: property tables, structures as JSON or CIF."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ijson
import numpy as np
from ase.data import atomic_numbers

from bench.exceptions import BenchError, one_line
from bench.settings.reading import ReadOptions
from bench.sources.cif import LABEL_KEYS, CifFiles, read_energy_column, reduced_formula
from bench.sources.published import download_hint
from bench.sources.row import Rejected, Row, RowError
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import RowRange, Source, build_or_reject

STRUCTURES = "qmof_structure_data.json"
CIFS = "relaxed_structures"
ENERGY = "outputs.pbe.energy_total"


class Qmof(NamedTuple):
    """The JSON file of all structures, read as a stream, with energies of a table.

    Args:
        files: the JSON file of structures and the table (`qmof.json` or `qmof.csv`).
        options: keys and units of the labels.
    """

    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "qmof"

    def row_ranges(self) -> list[RowRange]:
        """Returns one range, since a JSON file has no random access."""
        return [RowRange(str(self.files[0]))]

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields all structures.

        Raises:
            BenchError: the JSON file is truncated or damaged.
        """
        energies = total_energies(self.files[1], self.options)
        for number, entry in enumerate(_entries(Path(row_range.path))):
            location = f"Structure {number} of {row_range.path}"
            yield build_or_reject(location, _row, entry, energies, self.options)


def open_qmof(folder: Path, options: ReadOptions) -> Source:
    """Returns the reader of a folder of the QMOF database.

    Args:
        folder: folder with `qmof.json` or `qmof.csv`.
        options: keys and units of the labels.

    Raises:
        BenchError: the structures are missing.
    """
    table = next(folder / n for n in ("qmof.json", "qmof.csv") if (folder / n).exists())
    structures = folder / STRUCTURES
    if structures.exists():
        return Qmof((structures, table), options)
    archive = folder / f"{CIFS}.zip"
    cifs = sorted((folder / CIFS).glob("*.cif")) or [archive] * archive.exists()
    if cifs:
        energies = total_energies(table, options)
        return CifFiles(tuple(cifs), options, tuple(energies.items()))
    raise BenchError(
        f"{folder} has {table.name} but neither {STRUCTURES} nor {CIFS}/*.cif: unpack "
        f"all of qmof_database.zip there{download_hint('qmof')}; see `bench "
        "prepare --published`."
    )


def total_energies(table: Path, options: ReadOptions) -> dict[str, float | None]:
    """Returns the total energy of every MOF in eV, None if the database has none.

    Args:
        table: `qmof.json` or `qmof.csv`.
        options: `energy` selects another functional, such as
            `outputs.hse06.energy_total`.
    """
    key = options.keys.get("energy", ENERGY)
    if table.suffix == ".csv":
        return read_energy_column(table, key)
    energies: dict[str, float | None] = {}
    for entry in _entries(table):
        value: Any = entry
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        energies[str(entry.get("qmof_id"))] = value
    return energies


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
                f"({one_line(error)}): download it again."
            ) from error


def _row(
    entry: Mapping[str, Any], energies: Mapping[str, float | None], options: ReadOptions
) -> Row:
    name = entry.get("qmof_id")
    if not name or "structure" not in entry:
        raise RowError("it has no `qmof_id` or no `structure`")
    sites = entry["structure"]["sites"]
    if any(len(s["species"]) != 1 or s["species"][0]["occu"] != 1 for s in sites):
        raise RowError("sites are partially occupied: give ordered structures")
    symbols = [s["species"][0]["element"] for s in sites]
    unknown = set(symbols) - set(atomic_numbers)
    if unknown:
        raise RowError(f"there is no element {unknown.pop()!r}")
    numbers = np.array([atomic_numbers[s] for s in symbols])
    keys = sites[0].get("properties", {}) if sites else {}
    values: dict[str, Any] = {k: [s["properties"].get(k) for s in sites] for k in keys}
    values["energy"] = energies.get(name)
    if "energy" in options.keys:
        values[options.keys["energy"]] = values["energy"]
    return build_row(
        Geometry(
            numbers,
            [s["xyz"] for s in sites],
            entry["structure"]["lattice"]["matrix"],
            True,
        ),
        {"name": entry.get("name"), **values},
        options,
        id=name,
        group=reduced_formula(numbers),
        default_keys=LABEL_KEYS,
    )
