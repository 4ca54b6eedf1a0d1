"""Files that are being written, and what killed processes left of them."""

import contextlib
import os
import platform
import re
import time
from pathlib import Path

# Name, machine and process; older releases left the machine out. Splits are written by
# chemsplit, whose unfinished files end otherwise.
_NAME = re.compile(
    r".+\.(?:(?P<node>[A-Za-z0-9_]*)-)?(?P<process>[0-9]+)\.(?:partial|tmp\.json)"
)
# Processes of another machine cannot be asked for; none writes one file for so long.
_DAY = 86_400.0


def partial_path(path: Path) -> Path:
    """Where this process writes a file before it gets its name.

    Args:
        path: of the finished file.
    """
    return path.with_name(f"{path.name}.{_node()}-{os.getpid()}.partial")


def sweep(folder: Path) -> None:
    """Deletes unfinished files whose writers are dead, also in folders below.

    Args:
        folder: of a command's results; need not exist.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            found = _NAME.fullmatch(name)
            if found is not None and _is_orphan(Path(place, name), found):
                Path(place, name).unlink(missing_ok=True)


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
    """Name of the machine, as it stands in names of files."""
    return re.sub("[^A-Za-z0-9_]", "_", platform.node())
