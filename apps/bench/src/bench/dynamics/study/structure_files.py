"""Structures from files, with the readers of `bench prepare`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase
import ase.io
from ase.io.formats import filetype

from bench.dataset.columns import columns_from_rows
from bench.dataset.overlaps import find_overlaps
from bench.exceptions import BenchError, one_line
from bench.labels import LABELS
from bench.sources import ReadOptions, Rejected, Row, open_source
from bench.sources.ase_atoms import FORMATS, row_from_atoms
from bench.sources.decompression import check_decompressed_size
from bench.sources.formats import has_known_format
from bench.sources.source import build_or_reject

MAX_FRAMES = 100_000
"""Largest number of structures of a file: all are in memory at once."""

TEXT = (
    *("aims", "castep-cell", "cube", "dmol-car", "eon", "espresso-in", "gaussian-in"),
    *("gen", "gromacs", "lammps-data", "mol", "nwchem-in", "proteindatabank", "res"),
    *("sdf", "struct", "turbomole", "vasp", "vasp-xdatcar", "xsf"),
)
"""Text formats of ASE for structures without labels. None of their readers executes or
unpickles content of a file; only such formats may be added."""

# An empty name disables the label, so that invalid labels cause no error.
_DISABLED = dict.fromkeys(LABELS, "")
_GEOMETRY = ReadOptions(keys=_DISABLED)
_CHARGED = ReadOptions(keys={k: v for k, v in _DISABLED.items() if k != "total_charge"})


def read_frames(path: Path, *, charged: bool = False) -> list[ase.Atoms]:
    """Reads all structures of a file.

    Args:
        path: path of a file in a format that `bench prepare` reads, or one of `TEXT`.
        charged: whether total charges are read too, into `info["total_charge"]`.

    Raises:
        BenchError: the file cannot be read or is empty, or a structure is invalid.
    """
    # ASE reads some folders as trajectories of pickles, which can execute code.
    if path.is_dir():
        raise BenchError(f"{path} is a folder: pass a file with structures.")
    options = _CHARGED if charged else _GEOMETRY
    rows: list[Row] = []
    for row in _rows(path, options):
        if isinstance(row, Rejected):
            raise _rejection_error(path, row)
        rows.append(row)
        if len(rows) > MAX_FRAMES:
            raise BenchError(f"{path} contains more than {MAX_FRAMES} structures.")
    if not rows:
        raise BenchError(f"{path} contains no structure.")
    for i, reason in find_overlaps(columns_from_rows(rows)).items():
        raise BenchError(f"Frame {i} of {path} cannot be simulated: {reason}.")
    return [_atoms(row) for row in rows]


def _rejection_error(path: Path, row: Rejected) -> BenchError:
    if row.reason.startswith("total_charge"):
        return BenchError(
            f"{path}: `total_charge` is not a finite number ({row.reason}): correct "
            "it, or set structures.total_charge, -o structures.total_charge=0."
        )
    return BenchError(f"{row.location} cannot be simulated: {row.reason}.")


def _rows(path: Path, options: ReadOptions) -> Iterable[Row | Rejected]:
    format = None if has_known_format(path) else _format(path)
    try:
        if format in TEXT:
            return _rows_of_ase(path, format, options)
        source = open_source(str(path), options.model_copy(update={"format": format}))
        return [row for part in source.row_ranges() for row in source.rows(part)]
    except BenchError:
        raise
    except Exception as error:  # readers raise errors of any type
        raise BenchError(f"{path} cannot be read: {one_line(error)}.") from error


def _format(path: Path) -> str:
    """Returns the format that ASE detects if it is safe to read."""
    try:
        format = filetype(str(path))
    except Exception as error:
        raise BenchError(f"{path} cannot be read: {one_line(error)}.") from error
    if format in TEXT or format in FORMATS or format == "extxyz":
        return format
    raise BenchError(
        f"{path} has the format {format!r}, which is not supported: convert it to "
        "extended XYZ or CIF."
    )


def _rows_of_ase(path: Path, format: str, options: ReadOptions) -> list[Row | Rejected]:
    check_decompressed_size(path)
    frames: Any = ase.io.read(path, ":", format=format)
    return [
        build_or_reject(
            f"Frame {i} of {path}", row_from_atoms, atoms, options, f"{i:07d}", None
        )
        for i, atoms in enumerate(frames)
    ]


def _atoms(row: Row) -> ase.Atoms:
    periodic = row.cell is not None
    atoms = ase.Atoms(row.numbers, row.positions, cell=row.cell, pbc=periodic)
    if row.total_charge is not None:
        atoms.info["total_charge"] = row.total_charge
    return atoms
