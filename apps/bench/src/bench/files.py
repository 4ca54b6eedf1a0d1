"""Atomic writes, and removal of the temporary files of killed processes."""

import contextlib
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.exceptions import BenchError, one_line

# File name, host and process; older versions omitted the host. Splits are written by
# chemsplit, whose temporary files end in `.tmp.json`.
_NAME = re.compile(
    r".+\.(?:(?P<node>[A-Za-z0-9_]*)-)?(?P<process>[0-9]+)\.(?:partial|tmp\.json)"
)
# Processes of other hosts cannot be checked, but no write takes a day.
_SECONDS_PER_DAY = 86_400.0


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path whose file replaces `path` when the block succeeds.

    The temporary file is deleted when the block fails.

    Args:
        path: of the finished file.

    Raises:
        OSError: the file cannot be written; the error names `path`.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise  # not from the system, or about another file
        # The error of a full disk does not name the file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, as UTF-8.

    Args:
        path: of the file.
        text: content.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically.

    Args:
        path: of the file.
        content: bytes.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_error(folder: Path, error: OSError) -> BenchError:
    """Returns the error to raise when a folder cannot be written.

    Args:
        folder: of results.
        error: of the operating system.
    """
    return BenchError(
        f"{folder} cannot be written ({error.strerror or one_line(error)}): free some "
        "space or choose another folder; no incomplete file is used, and the same "
        "command continues."
    )


def temporary_path(path: Path) -> Path:
    """Returns the path at which this process writes a file before it is complete.

    Args:
        path: of the finished file.
    """
    return path.with_name(f"{path.name}.{_node()}-{os.getpid()}.partial")


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files of processes that no longer run, recursively.

    Args:
        folder: of results; need not exist.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            match = _NAME.fullmatch(name)
            if match is not None and _is_leftover(Path(parent, name), match):
                Path(parent, name).unlink(missing_ok=True)


def _is_leftover(path: Path, match: re.Match[str]) -> bool:
    if match["node"] not in (None, _node()):
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime > _SECONDS_PER_DAY
        return False
    try:
        os.kill(int(match["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or not a process id
        return False
    return False


def _node() -> str:
    """Returns the name of this host, as used in file names."""
    return re.sub("[^A-Za-z0-9_]", "_", platform.node())
