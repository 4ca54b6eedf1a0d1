"""Rows from `ase.Atoms`, and a reader for formats of ASE."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import ase
import ase.io

from bench.exceptions import BenchError, one_line
from bench.settings.reading import ReadOptions
from bench.sources.decompression import check_decompressed_size, open_decompressed
from bench.sources.lines import next_lines
from bench.sources.row import Rejected, Row
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import (
    RowRange,
    build_or_reject,
    name_before_dot,
    unique_names,
)
from bench.sources.xml import check_no_entities

FORMATS: dict[str, tuple[str, ...]] = {
    "abinit-out": (),
    "aims-output": (),
    "castep-castep": ("*.castep",),
    "castep-md": (),
    "espresso-out": ("*.pwo",),
    "gaussian-out": (),
    "gpaw-out": (),
    "lammps-dump-text": (),
    "nwchem-out": (),
    "onetep-out": (),
    "orca-output": (),
    "qbox": (),
    "traj": ("*.traj",),
    "turbomole-gradient": (),
    "vasp-out": ("*OUTCAR*",),
    "vasp-xml": ("*vasprun*.xml*",),
}
"""Formats that ASE reads, with their file name patterns. Other formats of ASE are left
out because they may execute or unpickle the content of a file."""


MAX_HEADER_LINES = 100
"""Lines of a LAMMPS dump before its atoms."""

LAMMPS = "lammps-dump-text"

UNCONVERTED = (LAMMPS, "traj", "qbox")
"""Formats in which ASE converts no units; it converts the others to eV and Å."""


def values_from_atoms(atoms: ase.Atoms) -> dict[str, Any]:
    """Returns arrays, info and results of `ase.Atoms`, without the geometry, by key."""
    arrays = {
        k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")
    }
    results: Mapping[str, Any] = {} if atoms.calc is None else atoms.calc.results
    return {**arrays, **atoms.info, **results}


def row_from_atoms(
    atoms: ase.Atoms,
    options: ReadOptions,
    id: str,
    group: str | None,
    replacements: Mapping[str, Any] = MappingProxyType({}),
) -> Row:
    """Returns the row of an `ase.Atoms` object.

    Args:
        atoms: ASE object with calculator results, info and arrays.
        options: keys and units of the labels.
        id: used if the object has none.
        group: used if the object has none; None uses the id.
        replacements: values that replace those of the object, by key.
    """
    geometry = Geometry(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc.tolist()
    )
    values = {**values_from_atoms(atoms), **replacements}
    return build_row(geometry, values, options, id=id, group=group)


class AseFiles(NamedTuple):
    """Files in a format of ASE; the frames of a file form one group."""

    files: tuple[Path, ...]
    options: ReadOptions
    format: str

    def row_ranges(self) -> list[RowRange]:
        """Returns one range per file.

        Raises:
            BenchError: an XML file declares entities, or a LAMMPS dump has types
                instead of elements.
        """
        for path in self.files:
            if self.format == "vasp-xml":
                check_no_entities(path)
            if self.format == LAMMPS:
                _check_elements(path)
        return [RowRange(str(path)) for path in self.files]

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the frames of a file.

        Raises:
            BenchError: ASE cannot read a frame, or the file decompresses to too much.
        """
        path = Path(row_range.path)
        check_decompressed_size(path)
        name = unique_names(self.files, name_before_dot)[path]
        frames = ase.io.iread(path, index=":", format=self.format)
        number = 0
        while True:
            try:
                atoms = next(frames, None)
            except Exception as error:  # malformed input can raise any exception
                raise BenchError(
                    f"{path} cannot be read as {self.format} from frame {number} "
                    f"on ({type(error).__name__}: {one_line(error)}): check that it is "
                    "complete."
                ) from error
            if atoms is None:
                return
            assert isinstance(atoms, ase.Atoms)
            if self.format == LAMMPS and atoms.calc is not None:
                # ASE sets it to zero; a dump contains no energy.
                atoms.calc.results.pop("energy", None)
            location = f"Frame {number} of {path}"
            id = f"{name}/{number:07d}"
            yield build_or_reject(
                location, row_from_atoms, atoms, self.options, id, name
            )
            number += 1


def check_units(format: str, options: ReadOptions) -> None:
    """Checks that units are given only for formats in which ASE converts none.

    Args:
        format: a key of `FORMATS`.
        options: options with the units that the user gave.

    Raises:
        BenchError: units are given for converted labels, or missing.
    """
    units = (options.energy_unit, options.length_unit)
    if format == "qbox" and units != ("hartree", "bohr"):
        raise BenchError(
            "Qbox writes hartree and bohr: set -o read.energy_unit=hartree "
            "-o read.length_unit=bohr, and -o read.stress_unit=GPa if it has stresses."
        )
    has_units = units != ("eV", "angstrom") or options.stress_unit is not None
    if format not in UNCONVERTED and has_units:
        raise BenchError(
            f"ASE converts {format} to eV and Å: omit read.energy_unit, "
            "read.length_unit and read.stress_unit."
        )


def _check_elements(path: Path) -> None:
    """Checks that a dump has elements; ASE would use types as atomic numbers."""
    with open_decompressed(path) as file:
        for line in next_lines(file, MAX_HEADER_LINES):
            if line.startswith(b"ITEM: ATOMS"):
                columns = line.split()[2:]
                if b"element" in columns or b"mass" in columns:
                    return
                raise BenchError(
                    f"{path} has types of atoms but no elements: dump the column "
                    "`element` as well (dump_modify element O H ...)."
                )
