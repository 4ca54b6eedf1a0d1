"""Files that are either absent or whole."""

import contextlib
import glob
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Name, machine (older releases left it out) and process of an unfinished file.
_NAME = re.compile(
    r"\..+\.(?:(?P<node>[A-Za-z0-9_]*)-)?(?P<process>[0-9]+)\.tmp(?:\.[^.]+)?"
)
# Processes of another machine cannot be asked for; none writes one file for so long.
_DAY = 86_400.0


def require_folder(path: Path) -> None:
    """Refuse a file in a folder that does not exist."""
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} in.")


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a file to write that becomes `path` in the end, or vanishes on failure."""
    require_folder(path)
    sweep(path.parent, f".{glob.escape(path.stem)}.*.tmp{glob.escape(path.suffix)}")
    owner = f"{_node()}-{os.getpid()}"
    written = path.with_name(f".{path.stem}.{owner}.tmp{path.suffix}")
    try:
        yield written
        written.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(written)):
            raise  # of a library in its own words, or about another file
        # A full disk does not say which file it had no room for.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        written.unlink(missing_ok=True)


def sweep(folder: Path, pattern: str) -> None:
    """Delete unfinished files of processes that were killed."""
    for path in folder.glob(pattern):
        found = _NAME.fullmatch(path.name)
        if found is not None and _is_orphan(path, found):
            path.unlink(missing_ok=True)


def _is_orphan(path: Path, found: re.Match[str]) -> bool:
    if found["node"] not in (None, _node()):
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime > _DAY
        return False
    try:
        os.kill(int(found["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # of another user, or no process at all
        return False
    return False


def _node() -> str:
    """Name of the machine, as it stands in names of files: without dots."""
    return re.sub("[^A-Za-z0-9_]", "_", platform.node())
