"""Pytest configuration of all members: parallel processes and a compilation cache.

The `conftest.py` of packages, apps and tests import this module before the conftest
files of the members are read, also if the tests of one member run alone. Environment
variables that are already set take precedence: `JAX_DISABLE_MOST_OPTIMIZATIONS=0`
compiles with XLA's full optimization, `JAX_COMPILATION_CACHE_DIR` moves the cache.
"""

import gc
import hashlib
import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
CACHE_ROOT = USER_CACHE / "long-range-tests"
MAX_CACHE_BYTES = 2 * 2**30
"""Limit on the size of `CACHE_ROOT`: all processors and versions of jaxlib together."""
MAX_PROCESSES = 8
"""Each process imports all libraries and needs 1 to 2 GB of memory."""
MAX_MEMORY_MAPS = 16_384
"""Memory maps of a process: compiled programs use some, the kernel allows 65 530."""


def _platform_key() -> str:
    """Name of jaxlib's version and the processor, on which compiled programs depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    prefixes = ("model name", "flags", "Features", "CPU part")
    traits = {line for line in lines if line.startswith(prefixes)}
    try:
        jaxlib = version("jaxlib")
    except PackageNotFoundError:  # the environment of chemsplit alone has no JAX
        jaxlib = "none"
    digest = hashlib.sha256("\n".join(sorted(traits)).encode()).hexdigest()
    return f"jaxlib-{jaxlib}-{platform.machine()}-{digest[:12]}"


CACHE_DIRECTORY = CACHE_ROOT / _platform_key()

# Set before JAX is imported; processes started by tests inherit the environment.
# Most tests check values, not speed: compiling without optimization takes two thirds
# of the time.
for _name, _setting in {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE_DIRECTORY),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}.items():
    os.environ.setdefault(_name, _setting)


# Tracing creates many short-lived objects next to JAX's long-lived ones. With Python's
# default thresholds, garbage collection takes a tenth of the time.
gc.set_threshold(50_000, 50, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Runs folders with one process per core, single files and tests in this one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    with suppress(OSError):
        _evict_least_recently_used()
    option = config.option
    # Without pytest-xdist the option is missing; `-n` takes precedence.
    if getattr(option, "numprocesses", 0) is not None or option.collectonly:
        return
    directory = config.invocation_params.dir
    if all((directory / path.split("::")[0]).is_dir() for path in config.args):
        option.numprocesses = "logical"
        option.maxprocesses = option.maxprocesses or MAX_PROCESSES
        if option.dist == "no":
            # Consecutive tests run in one process: they share module fixtures and
            # compiled programs.
            option.dist = "worksteal"


@pytest.fixture(scope="module", autouse=True)
def limit_memory_maps():
    """Clears JAX's caches after a module if the process has many memory maps.

    At the kernel's limit of memory maps the process crashes. Below `MAX_MEMORY_MAPS`
    modules share compiled programs.
    """
    yield
    if "jax" in sys.modules and _count_memory_maps() > MAX_MEMORY_MAPS:
        sys.modules["jax"].clear_caches()


def _count_memory_maps() -> int:
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # not Linux: no limit on memory maps
        return 0


def _evict_least_recently_used():
    """Deletes the compiled programs used least recently, above `MAX_CACHE_BYTES`."""
    entries = []
    for path in CACHE_ROOT.glob("*/*"):
        state = path.stat()
        entries.append((max(state.st_atime, state.st_mtime), state.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= MAX_CACHE_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size
