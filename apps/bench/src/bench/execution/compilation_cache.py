"""JAX's persistent compilation cache, which the commands of `bench` use."""

import hashlib
import os
import platform
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import filelock

from bench.exceptions import one_line
from bench.execution.announcements import announce

LIMIT_BYTES = 2**30
"""Limit on the size of the programs of one processor and version of jaxlib."""

UNUSED_DAYS = 60
"""Programs of other processors and versions that were unused for longer are deleted."""


def cache_directory() -> Path:
    """Returns the folder of compiled programs of this processor and jaxlib.

    A program that was compiled for another processor may crash on this one.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = [platform.processor()]
    prefixes = ("model name", "flags", "Features", "CPU part")
    traits = {line for line in lines if line.startswith(prefixes)} or set(lines)
    digest = hashlib.sha256("\n".join(sorted(traits)).encode()).hexdigest()
    key = f"jaxlib-{version('jaxlib')}-{platform.machine()}-{digest[:12]}"
    return home / "long-range-bench" / key


def enable_compilation_cache(no_cache: bool = False) -> None:
    """Makes JAX store compiled programs on disk for later and parallel runs.

    Must be called before JAX is imported. Settings of JAX in the environment, such as
    `JAX_COMPILATION_CACHE_DIR`, take precedence; a folder that cannot be written is
    reported in one line and not used.

    Args:
        no_cache: compile everything, without reading or writing any cache.
    """
    # Environment variables, because worker processes inherit them.
    if no_cache:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    disabled = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower()
    if disabled in ("n", "no", "f", "false", "off", "0"):
        return
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    directory = cache_directory()
    try:
        _clean(directory)
    except OSError as error:  # includes the timeout of the lock
        announce(
            f"Compiled programs cannot be stored in {directory} ({one_line(error)}), "
            "so that everything is compiled again: make the folder writable, or set "
            "JAX_COMPILATION_CACHE_DIR to another one."
        )
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(LIMIT_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _clean(directory: Path) -> None:
    """Creates the folder and deletes what is incomplete or has long been unused."""
    directory.mkdir(parents=True, exist_ok=True)
    # The lock of JAX, which holds it while it writes a program and then its time of
    # use. A process that was killed in between leaves a program without a time.
    with filelock.FileLock(directory / ".lockfile", timeout=10):
        for program in directory.glob("*-cache"):
            name = program.name.removesuffix("-cache")
            if not (directory / f"{name}-atime").exists():
                program.unlink()
    os.utime(directory)
    oldest = time.time() - 86_400 * UNUSED_DAYS
    for other in directory.parent.iterdir():
        if other.stat().st_mtime < oldest:
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:  # of earlier versions of bench, which had no folders
                other.unlink(missing_ok=True)
