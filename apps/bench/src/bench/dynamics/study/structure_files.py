"""Structures of files, by the readers that `bench prepare` has for them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase
import ase.io
from ase.io.formats import filetype

from bench.dataset.columns import pack
from bench.dataset.contacts import overlaps
from bench.exceptions import BenchError, one_line
from bench.labels import LABELS
from bench.sources import Reading, Rejected, Row, open_source
from bench.sources.ase_atoms import FORMATS, row_of
from bench.sources.finding import is_known
from bench.sources.limits import check_unpacked
from bench.sources.source import attempt

MOST_FRAMES = 100_000
"""Structures that are read of a file: they are all kept in memory."""

TEXT = (
    *("aims", "castep-cell", "cube", "dmol-car", "eon", "espresso-in", "gaussian-in"),
    *("gen", "gromacs", "lammps-data", "mol", "nwchem-in", "proteindatabank", "res"),
    *("sdf", "struct", "turbomole", "vasp", "vasp-xdatcar", "xsf"),
)
"""Formats of ASE for structures without labels; all are text, and none of their readers
runs or unpickles what a file holds, which is why the list is closed."""

# No name is empty: labels are not looked for, so that bad ones do no harm.
_GEOMETRY = Reading(**dict.fromkeys(LABELS, ""))
_CHARGED = Reading(**dict.fromkeys(set(LABELS) - {"total_charge"}, ""))


def read_frames(path: Path, *, charged: bool = False) -> list[ase.Atoms]:
    """All structures of a file.

    Args:
        path: of a format that `bench prepare` reads, or one of `TEXT`.
        charged: whether total charges are read as well, into `info`.

    Raises:
        BenchError: it cannot be read or is empty, or a structure cannot be used.
    """
    # A folder may be a trajectory of pickles, which run what they hold.
    if path.is_dir():
        raise BenchError(f"{path} is a folder: give a file with structures.")
    reading = _CHARGED if charged else _GEOMETRY
    rows: list[Row] = []
    for row in _rows(path, reading):
        if isinstance(row, Rejected):
            raise _refusal(path, row)
        rows.append(row)
        if len(rows) > MOST_FRAMES:
            raise BenchError(f"{path} holds more than {MOST_FRAMES} structures.")
    if not rows:
        raise BenchError(f"{path} holds no structure.")
    for i, why in overlaps(pack(rows)).items():
        raise BenchError(f"Frame {i} of {path} cannot be simulated: {why}.")
    return [_atoms(row) for row in rows]


def _refusal(path: Path, row: Rejected) -> BenchError:
    if row.why.startswith("total_charge"):
        return BenchError(
            f"{path}: `total_charge` is no number of e ({row.why}): correct it, or "
            "give --total-charge."
        )
    return BenchError(f"{row.where} cannot be simulated: {row.why}.")


def _rows(path: Path, reading: Reading) -> Iterable[Row | Rejected]:
    format = None if is_known(path) else _format(path)
    try:
        if format in TEXT:
            return _rows_of_ase(path, format, reading)
        source = open_source(str(path), reading, format)
        return [row for unit in source.units() for row in source.rows(unit)]
    except BenchError:
        raise
    except Exception as error:  # readers raise whatever a file runs them into
        raise BenchError(f"{path} cannot be read: {one_line(error)}.") from error


def _format(path: Path) -> str:
    """What ASE takes a file for, if that can be read without harm."""
    try:
        format = filetype(str(path))
    except Exception as error:
        raise BenchError(f"{path} cannot be read: {one_line(error)}.") from error
    if format in TEXT or format in FORMATS or format == "extxyz":
        return format
    raise BenchError(
        f"{path} is taken for the format {format!r}, which is not read here: convert "
        "it to extended XYZ or CIF."
    )


def _rows_of_ase(path: Path, format: str, reading: Reading) -> list[Row | Rejected]:
    check_unpacked(path)
    frames: Any = ase.io.read(path, ":", format=format)
    return [
        attempt(f"Frame {i} of {path}", row_of, atoms, reading, f"{i:07d}", None)
        for i, atoms in enumerate(frames)
    ]


def _atoms(row: Row) -> ase.Atoms:
    periodic = row.cell is not None
    atoms = ase.Atoms(row.numbers, row.positions, cell=row.cell, pbc=periodic)
    if row.total_charge is not None:
        atoms.info["total_charge"] = row.total_charge
    return atoms
