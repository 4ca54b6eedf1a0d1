"""Structures from files, whatever ASE reads."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ._split import some, unique_ids

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Structures:
    """Structures and their ids, and what could not be read.

    Parameters
    ----------
    ids : list of str
        Of each structure, unique.
    atoms : list of ase.Atoms
        The structures.
    groups : list of str or None
        Group of each structure.
    unreadable : dict of str to str
        Files that could not be read, and why.
    """

    ids: list[str]
    atoms: "list[Atoms]"
    groups: list[str] | None = None
    unreadable: dict[str, str] = field(default_factory=dict)


def read_structures(
    paths: Iterable[str | os.PathLike[str]],
    *,
    id_key: str | None = None,
    group_key: str | None = None,
) -> Structures:
    """Read all structures of all files; a file that cannot be read is left out.

    Parameters
    ----------
    paths : iterable of path-like
        Files in any format of ASE, with one structure or many.
    id_key : str, default=None
        Entry of ``atoms.info`` that names a structure. By default it is the file's
        name, without ending, and the number of the structure where the file has many.
    group_key : str, default=None
        Entry of ``atoms.info`` that names its group, "file" for the file's name.

    Returns
    -------
    Structures

    Warns
    -----
    UserWarning
        If files could not be read; they are named.
    """
    ids, atoms, groups, unreadable = [], [], [], {}
    for path in map(Path, paths):
        try:
            frames = _frames(path)
        except Exception as error:  # ASE's readers fail each in their own way
            unreadable[str(path)] = _first_line(error)
            continue
        for number, frame in enumerate(frames):
            stem = path.stem if len(frames) == 1 else f"{path.stem}-{number}"
            name = stem if id_key is None else _entry(frame, stem, id_key)
            ids.append(name)
            atoms.append(frame)
            if group_key is not None:
                by_file = group_key == "file"
                groups.append(path.stem if by_file else _entry(frame, name, group_key))
    reasons = [f"{path} ({why})" for path, why in unreadable.items()]
    if not atoms:
        why = f" {some(reasons, quote=False)} cannot be read." if reasons else ""
        raise ValueError(f"There is no structure in the files given.{why}")
    if reasons:
        shown = some(reasons, quote=False)
        warnings.warn(f"Left out what cannot be read: {shown}.", stacklevel=2)
    names = list(unique_ids(ids, "the files; name them by `id_key`"))
    return Structures(names, atoms, groups or None, unreadable)


def _frames(path: Path) -> "list[Atoms]":
    import ase.io

    if path.is_dir() and path.suffix != ".bundle":  # a format of ASE that is a folder
        raise IsADirectoryError("name the files in it")
    frames = ase.io.read(path, index=":")
    frames = frames if isinstance(frames, list) else [frames]
    if not frames:
        raise ValueError("it holds no structure")
    return frames


def _first_line(error: Exception) -> str:
    kind, lines = type(error).__name__, str(error).strip().splitlines()
    return f"{kind}: {lines[0].rstrip('.')}" if lines else kind


def _entry(frame: "Atoms", name: str, key: str) -> str:
    if key not in frame.info:
        known = ", ".join(map(repr, sorted(frame.info))) or "nothing"
        raise ValueError(f"Structure {name} has no entry {key!r}; it has {known}.")
    return str(frame.info[key])
