"""Finds the reader for a file, a folder or a glob pattern."""

import functools
import glob
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from bench.exceptions import BenchError
from bench.settings.installed import READERS, installed_names, load_installed
from bench.settings.reading import ReadOptions
from bench.sources.ase_atoms import FORMATS, AseFiles, check_units
from bench.sources.folder_files import list_files, without_duplicate_links
from bench.sources.published import download_hint
from bench.sources.qmof import open_qmof
from bench.sources.source import Reader, Source

FILE_PATTERNS = {
    "aselmdb": ("*.aselmdb",),
    "extxyz": tuple(
        f"*.{suffix}{compression}"
        for suffix in ("extxyz", "xyz")
        for compression in ("", ".gz", ".xz", ".bz2")
    ),
    "db": ("*.db",),
    "npz": ("*.npz",),
    "hdf5": ("*.h5", "*.hdf5"),
    "cif": ("*.cif", "*.zip"),
    **{name: patterns for name, patterns in FORMATS.items() if patterns},
}
"""File name patterns of the formats of bench."""


def open_source(source: str, options: ReadOptions) -> Source:
    """Returns the reader of a file, a folder or a pattern such as `data/*.aselmdb`.

    Args:
        source: path or glob pattern.
        options: format, keys and units of the labels.

    Raises:
        BenchError: no files, no known format, or more than one format.
    """
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, list_files(path), options)
    files = [path] if path.is_file() else [Path(p) for p in glob.glob(source)]
    files = [f for f in files if f.is_file()]
    if not files:
        raise BenchError(
            f"There is no data set {source!r}: give a file, a folder or a pattern in "
            f"quotes{download_hint(source)}; `bench prepare --published` lists files, "
            "sizes, licenses and citations of published sets."
        )
    if len(files) == 1 and files[0].name == "qmof_structure_data.json":
        return _open_folder(files[0].parent, (), options)
    return _open_files(files, source, options)


def _open_folder(folder: Path, files: Sequence[Path], options: ReadOptions) -> Source:
    if any((folder / name).exists() for name in ("qmof.json", "qmof.csv")):
        return open_qmof(folder, options)
    deepmd_files = [
        p for p in files if p.name == "coord.npy" and p.parent.name.startswith("set.")
    ]
    if deepmd_files:
        return _open_files(deepmd_files, str(folder), options, "deepmd")
    if options.format is None:
        files = [p for p in files if _matching_formats(p)]
    if not files:
        raise BenchError(
            f"{folder} holds no file of a known format: known are "
            f"{', '.join(p for ps in FILE_PATTERNS.values() for p in ps)}; choose "
            "another one with read.format, -o read.format=FORMAT."
        )
    return _open_files(without_duplicate_links(files), str(folder), options)


def _open_files(
    files: Sequence[Path], source: str, options: ReadOptions, format: str | None = None
) -> Source:
    empty = [f for f in files if f.stat().st_size == 0]
    if empty:
        raise BenchError(f"{empty[0]} is empty: give files with labeled structures.")
    format = format or options.format
    if format is None:
        matches = {f: _matching_formats(f) for f in files}
        unknown = [f for f, formats in matches.items() if not formats]
        if unknown:
            raise BenchError(
                f"The name of {unknown[0]} does not match a format: set read.format, "
                "-o read.format=FORMAT, to one of "
                f"{', '.join(_format_names())}."
            )
        formats = {name for names in matches.values() for name in names}
        if len(formats) > 1:
            raise BenchError(
                f"{source} holds files of several formats "
                f"({', '.join(sorted(formats))}): give one file, or a pattern."
            )
        format = formats.pop()
    ordered = tuple(sorted(files))
    if format in FORMATS:
        check_units(format, options)
        return AseFiles(ordered, options, format)
    if format not in installed_names(READERS):
        raise BenchError(
            f"There is no format {format!r}: known are {', '.join(_format_names())}."
        )
    reader: Reader = load_installed(READERS, format)
    return reader(ordered, options)


def _format_names() -> list[str]:
    return sorted({*installed_names(READERS), *FORMATS})


def has_known_format(path: Path) -> bool:
    """Returns whether the name of a file matches a format.

    Args:
        path: path of the file.
    """
    return bool(_matching_formats(path))


def _matching_formats(path: Path) -> list[str]:
    """Returns the formats of bench, or else of other packages, that a name matches."""
    return _matching(path, FILE_PATTERNS) or _matching(path, _installed_patterns())


def _matching(path: Path, patterns: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [
        name
        for name in patterns
        if any(fnmatch(path.name, pattern) for pattern in patterns[name])
    ]


@functools.cache
def _installed_patterns() -> dict[str, tuple[str, ...]]:
    """Returns the file name patterns of the readers of other packages, by format."""
    others = set(installed_names(READERS)) - {*FILE_PATTERNS, "deepmd"}
    readers = {name: load_installed(READERS, name) for name in sorted(others)}
    return {name: tuple(reader.patterns) for name, reader in readers.items()}
