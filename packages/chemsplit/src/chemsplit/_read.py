"""Reading of structures from files, by ASE."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ._split import abbreviate, unique_ids

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Structures:
    """Structures with ids and groups, and the files that could not be read.

    Parameters
    ----------
    ids : list of str
        Id of each structure, unique.
    atoms : list of ase.Atoms
        Structures.
    groups : list of str or None
        Group of each structure; None if no key was given.
    unreadable : dict of str to str
        Path of each file that could not be read, and the reason.
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
    """Read all structures of files; files that cannot be read are skipped.

    Parameters
    ----------
    paths : iterable of path-like
        Files in any format of ASE, with one or more structures.
    id_key : str, default=None
        Key of ``atoms.info`` with the id of a structure. None for the file name without
        suffix, followed by the index of the structure if the file has several.
    group_key : str, default=None
        Key of ``atoms.info`` with the group of a structure, or "file" for the file
        name. None for no groups.

    Returns
    -------
    Structures

    Warns
    -----
    UserWarning
        If files could not be read; the warning lists them.
    """
    ids, atoms, groups, unreadable = [], [], [], {}
    for path in map(Path, paths):
        try:
            frames = _frames(path)
        except Exception as error:  # ASE's readers raise many types
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
    reasons = [f"{path} ({reason})" for path, reason in unreadable.items()]
    if not atoms:
        why = f" {abbreviate(reasons, quote=False)} cannot be read." if reasons else ""
        raise ValueError(f"There is no structure in the given files.{why}")
    if reasons:
        skipped = abbreviate(reasons, quote=False)
        warnings.warn(f"Skipped files that cannot be read: {skipped}.", stacklevel=2)
    names = list(unique_ids(ids, "the files; give `id_key`"))
    return Structures(names, atoms, groups or None, unreadable)


def _frames(path: Path) -> "list[Atoms]":
    import ase.io

    if path.is_dir() and path.suffix != ".bundle":  # .bundle is a folder
        raise IsADirectoryError("give the files in it")
    frames = ase.io.read(path, index=":")
    frames = frames if isinstance(frames, list) else [frames]
    if not frames:
        raise ValueError("the file has no structure")
    return frames


def _first_line(error: Exception) -> str:
    kind, lines = type(error).__name__, str(error).strip().splitlines()
    return f"{kind}: {lines[0].rstrip('.')}" if lines else kind


def _entry(frame: "Atoms", name: str, key: str) -> str:
    if key not in frame.info:
        keys = ", ".join(map(repr, sorted(frame.info))) or "none"
        raise ValueError(
            f"Structure {name} has no entry {key!r} in `info`; its keys are {keys}."
        )
    return str(frame.info[key])
