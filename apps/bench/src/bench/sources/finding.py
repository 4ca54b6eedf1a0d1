"""Which reader a path, a folder or a pattern is for."""

import glob
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from bench.exceptions import BenchError
from bench.sources.ase_atoms import FORMATS, AseFiles, check_units
from bench.sources.asedb import AseDb
from bench.sources.aselmdb import AseLmdb
from bench.sources.cif import Cifs
from bench.sources.columnar import Hdf5, Npz
from bench.sources.deepmd import DeepMD
from bench.sources.extxyz import ExtendedXYZ
from bench.sources.links import distinct, files_in
from bench.sources.published import pointer
from bench.sources.qmof import open_qmof
from bench.sources.reading import Reading
from bench.sources.source import Source

SUFFIXES = {
    "aselmdb": ("*.aselmdb",),
    "extxyz": tuple(
        f"*.{kind}{packed}"
        for kind in ("extxyz", "xyz")
        for packed in ("", ".gz", ".xz", ".bz2")
    ),
    "db": ("*.db",),
    "npz": ("*.npz",),
    "hdf5": ("*.h5", "*.hdf5"),
    "cif": ("*.cif", "*.zip"),
    **{name: patterns for name, patterns in FORMATS.items() if patterns},
}
"""File names of every format."""

READERS: dict[str, Callable[[tuple[Path, ...], Reading], Source]] = {
    "aselmdb": AseLmdb,
    "db": AseDb,
    "extxyz": ExtendedXYZ,
    "npz": Npz,
    "hdf5": Hdf5,
    "cif": Cifs,
    "deepmd": DeepMD,
}
"""Readers by format; the rest are ASE's."""


def open_source(source: str, reading: Reading, format: str | None = None) -> Source:
    """The reader of a file, a folder or a pattern such as `data/*.aselmdb`.

    Args:
        source: what to read.
        reading: names and units that were given.
        format: a key of `SUFFIXES`, where names of files do not tell.

    Raises:
        BenchError: nothing there, nothing known there, or several formats together.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path, files_in(path), reading, format)
    files = [path] if path.is_file() else [Path(p) for p in glob.glob(source)]
    files = [f for f in files if f.is_file()]
    if not files:
        raise BenchError(
            f"There is no data set {source!r}: give a file, a folder or a pattern in "
            f"quotes{pointer(source)}; `bench prepare --where` says files, sizes, "
            "licences and citations of published sets."
        )
    if len(files) == 1 and files[0].name == "qmof_structure_data.json":
        return _folder(files[0].parent, (), reading, format)
    return _reader(files, source, reading, format)


def _folder(
    folder: Path, files: Sequence[Path], reading: Reading, format: str | None
) -> Source:
    if any((folder / name).exists() for name in ("qmof.json", "qmof.csv")):
        return open_qmof(folder, reading)
    sets = [
        p for p in files if p.name == "coord.npy" and p.parent.name.startswith("set.")
    ]
    if sets:
        return _reader(sets, str(folder), reading, "deepmd")
    if format is None:
        files = [p for p in files if _formats(p)]
    if not files:
        raise BenchError(
            f"{folder} holds no file of a known format: known are "
            f"{', '.join(p for ps in SUFFIXES.values() for p in ps)}; another one is "
            "named by --format."
        )
    return _reader(distinct(files), str(folder), reading, format)


def _reader(
    files: Sequence[Path], source: str, reading: Reading, format: str | None
) -> Source:
    empty = [f for f in files if f.stat().st_size == 0]
    if empty:
        raise BenchError(f"{empty[0]} is empty: give files with labelled structures.")
    if format is None:
        found = {f: _formats(f) for f in files}
        unknown = [f for f, kinds in found.items() if not kinds]
        if unknown:
            raise BenchError(
                f"{unknown[0]} has a name that tells no format: give --format, one of "
                f"{', '.join(sorted({*READERS, *FORMATS}))}."
            )
        kinds = {kind for named in found.values() for kind in named}
        if len(kinds) > 1:
            raise BenchError(
                f"{source} holds files of several formats "
                f"({', '.join(sorted(kinds))}): give one of them, or a pattern."
            )
        format = kinds.pop()
    ordered = tuple(sorted(files))
    if format in READERS:
        return READERS[format](ordered, reading)
    if format in FORMATS:
        check_units(format, reading)
        return AseFiles(ordered, reading, format)
    raise BenchError(
        f"There is no format {format!r}: known are "
        f"{', '.join(sorted({*READERS, *FORMATS}))}."
    )


def is_known(path: Path) -> bool:
    """Whether the name of a file tells its format.

    Args:
        path: of the file.
    """
    return bool(_formats(path))


def _formats(path: Path) -> list[str]:
    return [
        kind
        for kind, patterns in SUFFIXES.items()
        if any(fnmatch(path.name, pattern) for pattern in patterns)
    ]
