"""Rows from ASE objects, for every format that ASE reads."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import ase
import ase.io

from bench.exceptions import BenchError, one_line
from bench.sources.limits import check_unpacked, unpacked
from bench.sources.lines import next_lines
from bench.sources.reading import Geometry, Reading, read_row
from bench.sources.row import Rejected, Row
from bench.sources.source import Unit, attempt, first_word, names_of
from bench.sources.xml import check_entities

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
"""Formats of ASE that are read, with their file names; none of them runs or unpickles
what a file holds, which is why the list is closed."""


MOST_HEADER = 100
"""Lines of a dump in front of its atoms."""

LAMMPS = "lammps-dump-text"

ANY_UNIT = (LAMMPS, "traj", "qbox")
"""Formats that ASE reads as they are; of the others it makes eV and Å."""


def values_of(atoms: ase.Atoms) -> dict[str, Any]:
    """Everything an ASE object holds besides its geometry, by name."""
    arrays = {
        k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")
    }
    results: Mapping[str, Any] = {} if atoms.calc is None else atoms.calc.results
    return {**arrays, **atoms.info, **results}


def row_of(
    atoms: ase.Atoms,
    reading: Reading,
    id: str,
    group: str | None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Row:
    """The row of an ASE object.

    Args:
        atoms: with results, info and arrays.
        reading: names and units that were given.
        id: used where the object has none.
        group: used where the object has none; None makes it its own group.
        more: values that replace those of the object, by name.
    """
    geometry = Geometry(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc.tolist()
    )
    values = {**values_of(atoms), **more}
    return read_row(geometry, values, reading, id=id, group=group)


class AseFiles(NamedTuple):
    """Files of one of ASE's formats; the frames of a file are one group."""

    files: tuple[Path, ...]
    reading: Reading
    format: str

    def units(self) -> list[Unit]:
        """A unit a file.

        Raises:
            BenchError: a file of XML declares entities, a dump of LAMMPS has types
                instead of elements.
        """
        for path in self.files:
            if self.format == "vasp-xml":
                check_entities(path)
            if self.format == LAMMPS:
                _check_elements(path)
        return [Unit(str(path)) for path in self.files]

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The frames of a file.

        Raises:
            BenchError: ASE cannot read the file from some frame on, or it would grow
                without bounds.
        """
        check_unpacked(Path(unit.path))
        name = names_of(self.files, first_word)[Path(unit.path)]
        frames = ase.io.iread(unit.path, index=":", format=self.format)
        number = 0
        while True:
            try:
                atoms = next(frames, None)
            except Exception as error:  # readers raise whatever a file runs them into
                raise BenchError(
                    f"{unit.path} cannot be read as {self.format} from frame {number} "
                    f"on ({type(error).__name__}: {one_line(error)}): check that it is "
                    "complete."
                ) from error
            if atoms is None:
                return
            assert isinstance(atoms, ase.Atoms)
            if self.format == LAMMPS and atoms.calc is not None:
                # ASE puts a zero there; a dump says no energy.
                atoms.calc.results.pop("energy", None)
            where = f"Frame {number} of {unit.path}"
            id = f"{name}/{number:07d}"
            yield attempt(where, row_of, atoms, self.reading, id, name)
            number += 1


def check_units(format: str, reading: Reading) -> None:
    """Refuses units for what ASE has converted, and asks for them where it has not.

    Args:
        format: a key of `FORMATS`.
        reading: with the units that were given.

    Raises:
        BenchError: the labels would be in other units than is said.
    """
    units = (reading.energy_unit, reading.length_unit)
    if format == "qbox" and units != ("hartree", "bohr"):
        raise BenchError(
            "Qbox writes hartree and bohr: give --energy-unit hartree --length-unit "
            "bohr, and --stress-unit GPa where it has stresses."
        )
    given = units != ("eV", "angstrom") or reading.stress_unit is not None
    if format not in ANY_UNIT and given:
        raise BenchError(
            f"What {format} says is read in eV and Å, whatever the program writes: "
            "leave away --energy-unit, --length-unit and --stress-unit."
        )


def _check_elements(path: Path) -> None:
    """Refuses dumps whose atoms have but types, which ASE takes for atomic numbers."""
    with unpacked(path) as file:
        for line in next_lines(file, MOST_HEADER):
            if line.startswith(b"ITEM: ATOMS"):
                columns = line.split()[2:]
                if b"element" in columns or b"mass" in columns:
                    return
                raise BenchError(
                    f"{path} says types of atoms, not which elements they are: dump "
                    "the column `element` as well (dump_modify element O H ...)."
                )
