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
from bench.sources import ReadOptions, Rejected, Row, open_source
from bench.sources.ase_atoms import FORMATS, row_from_atoms
from bench.sources.decompression import check_decompressed_size
from bench.sources.formats import has_known_format
from bench.sources.source import build_or_reject

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
_GEOMETRY = ReadOptions(**dict.fromkeys(LABELS, ""))
_CHARGED = ReadOptions(**dict.fromkeys(set(LABELS) - {"total_charge"}, ""))


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
    if row.reason.startswith("total_charge"):
        return BenchError(
            f"{path}: `total_charge` is no number of e ({row.reason}): correct it, or "
            "give --total-charge."
        )
    return BenchError(f"{row.location} cannot be simulated: {row.reason}.")


def _rows(path: Path, reading: ReadOptions) -> Iterable[Row | Rejected]:
    format = None if has_known_format(path) else _format(path)
    try:
        if format in TEXT:
            return _rows_of_ase(path, format, reading)
        source = open_source(str(path), reading, format)
        return [row for part in source.row_ranges() for row in source.rows(part)]
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


def _rows_of_ase(path: Path, format: str, reading: ReadOptions) -> list[Row | Rejected]:
    check_decompressed_size(path)
    frames: Any = ase.io.read(path, ":", format=format)
    return [
        build_or_reject(
            f"Frame {i} of {path}", row_from_atoms, atoms, reading, f"{i:07d}", None
        )
        for i, atoms in enumerate(frames)
    ]


def _atoms(row: Row) -> ase.Atoms:
    periodic = row.cell is not None
    atoms = ase.Atoms(row.numbers, row.positions, cell=row.cell, pbc=periodic)
    if row.total_charge is not None:
        atoms.info["total_charge"] = row.total_charge
    return atoms
