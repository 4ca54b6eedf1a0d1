"""The files of a folder, none of which lies elsewhere."""

import os
from collections.abc import Iterable
from pathlib import Path

from bench.exceptions import BenchError


def files_in(folder: Path) -> list[Path]:
    """All files under a folder, links to files in it included.

    Args:
        folder: may itself be a link.

    Raises:
        BenchError: a link leads out of the folder, in a circle or nowhere, or a folder
            in it cannot be listed.
    """
    root = Path(os.path.realpath(folder))
    files = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        for path in (Path(place, name) for name in (*folders, *names)):
            if path.is_symlink():
                _check_link(path, folder, root)
            if path.is_file():
                files.append(path)
    return files


def distinct(files: Iterable[Path]) -> list[Path]:
    """Files without the links to others of them.

    Args:
        files: some of them links.
    """
    ordered = sorted(files, key=lambda path: (path.is_symlink(), path))
    return list({os.path.realpath(path): path for path in reversed(ordered)}.values())


def _check_link(link: Path, folder: Path, root: Path) -> None:
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(root):
        raise BenchError(
            f"{link} is a link that leaves {folder}, to {target}: put the data itself "
            "there, or give them by a path or a pattern of their own."
        )
    if not target.exists():
        raise BenchError(
            f"{link} is a link that leads nowhere or in a circle: remove or mend it."
        )


def _refuse(error: OSError) -> None:
    raise BenchError(
        f"{error.filename} cannot be listed ({error.strerror}): make it readable."
    ) from error
