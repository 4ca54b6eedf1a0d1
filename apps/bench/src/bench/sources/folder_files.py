"""Lists the files of a folder, without symbolic links that leave it."""

import os
from collections.abc import Iterable
from pathlib import Path

from bench.exceptions import BenchError


def list_files(folder: Path) -> list[Path]:
    """Returns all files in a folder and its subfolders, links to such files included.

    Args:
        folder: may itself be a symbolic link.

    Raises:
        BenchError: a link points outside the folder, to itself or to nothing, or a
            subfolder cannot be listed.
    """
    root = Path(os.path.realpath(folder))
    files = []
    for parent, folders, names in os.walk(folder, onerror=_raise_not_listed):
        for path in (Path(parent, name) for name in (*folders, *names)):
            if path.is_symlink():
                _check_link(path, folder, root)
            if path.is_file():
                files.append(path)
    return files


def without_duplicate_links(files: Iterable[Path]) -> list[Path]:
    """Returns files without the symbolic links to others of them.

    Args:
        files: some of them may be links.
    """
    ordered = sorted(files, key=lambda path: (path.is_symlink(), path))
    return list({os.path.realpath(path): path for path in reversed(ordered)}.values())


def _check_link(link: Path, folder: Path, root: Path) -> None:
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(root):
        raise BenchError(
            f"{link} is a link that leaves {folder}, to {target}: copy the data into "
            "the folder, or give their own path or pattern."
        )
    if not target.exists():
        raise BenchError(
            f"{link} is a link to nothing or to itself: remove or correct it."
        )


def _raise_not_listed(error: OSError) -> None:
    raise BenchError(
        f"{error.filename} cannot be listed ({error.strerror}): make it readable."
    ) from error
