"""Atomic writing of files: readers never see an incomplete file."""

import contextlib
import glob
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Name, host (absent in files of older releases) and process of a temporary file.
_TEMPORARY = re.compile(
    r"\..+\.(?:(?P<host>[A-Za-z0-9_]*)-)?(?P<process>[0-9]+)\.tmp(?:\.[^.]+)?"
)
# A process on another host cannot be checked; no write takes this long (seconds).
_MAX_AGE = 86_400.0


def require_folder(path: Path) -> None:
    """Raise ValueError if the folder of a file does not exist."""
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} in.")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary file that is renamed to `path`, or deleted on failure."""
    require_folder(path)
    remove_stale_files(
        path.parent, f".{glob.escape(path.stem)}.*.tmp{glob.escape(path.suffix)}"
    )
    owner = f"{_host()}-{os.getpid()}"
    temporary = path.with_name(f".{path.stem}.{owner}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise  # raised by a library without errno, or about another file
        # "No space left on device" comes without a file name.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale_files(folder: Path, pattern: str) -> None:
    """Delete temporary files of processes that no longer run."""
    for path in folder.glob(pattern):
        match = _TEMPORARY.fullmatch(path.name)
        if match is not None and _is_stale(path, match):
            path.unlink(missing_ok=True)


def _is_stale(path: Path, match: re.Match[str]) -> bool:
    if match["host"] not in (None, _host()):
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime > _MAX_AGE
        return False
    try:
        os.kill(int(match["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or not a process id
        return False
    return False


def _host() -> str:
    """Return the host name with dots replaced, as it is used in file names."""
    return re.sub("[^A-Za-z0-9_]", "_", platform.node())
