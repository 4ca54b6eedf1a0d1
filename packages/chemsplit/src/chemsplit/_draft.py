"""Files that are either absent or whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def require_folder(path: Path) -> None:
    """Refuse a file in a folder that does not exist."""
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} in.")


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a file to write that becomes `path` in the end, or vanishes on failure."""
    require_folder(path)
    written = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield written
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
