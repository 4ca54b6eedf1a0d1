"""How the tests of all members run: side by side, compiled cheaply, programs kept.

The `conftest.py` of packages, apps and tests import it before those of the members are
read, also where a member is tested alone. What the environment says stays:
`JAX_DISABLE_MOST_OPTIMIZATIONS=0` compiles as for users, `JAX_COMPILATION_CACHE_DIR`
keeps programs elsewhere.
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

HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
KEPT = HOME / "long-range-tests"
ROOM = 2 * 2**30
"""Bytes of programs that are kept, of every machine and version of jaxlib together."""
MOST_PROCESSES = 8
"""Each imports every library anew and holds a GB or two."""
MOST_MAPS = 16_384
"""Memory maps of a process: compiled programs take some, the kernel allows 65 530."""


def _kind_of_machine() -> str:
    """What compiled programs depend on: they may not run on another processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    begin = ("model name", "flags", "Features", "CPU part")
    traits = {line for line in lines if line.startswith(begin)}
    try:
        jaxlib = version("jaxlib")
    except PackageNotFoundError:  # chemsplit alone has none
        jaxlib = "none"
    digest = hashlib.sha256("\n".join(sorted(traits)).encode()).hexdigest()
    return f"jaxlib-{jaxlib}-{platform.machine()}-{digest[:12]}"


PROGRAMS = KEPT / _kind_of_machine()

# In the environment before JAX is imported, which processes started by tests inherit.
# Most tests ask what is computed and not how fast: two thirds of the time to compile.
for _name, _setting in {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(PROGRAMS),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}.items():
    os.environ.setdefault(_name, _setting)


# Tracing makes many short-lived objects beside the long-lived ones of JAX, and Python
# looks through all of them each time: a tenth of the time, at its usual thresholds.
gc.set_threshold(50_000, 50, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Folders are tested by a process per core, files and single tests by this one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    with suppress(OSError):
        _make_room()
    option = config.option
    # Without pytest-xdist there is no such option, and `-n` says what is wanted.
    if getattr(option, "numprocesses", 0) is not None or option.collectonly:
        return
    here = config.invocation_params.dir
    if all((here / place.split("::")[0]).is_dir() for place in config.args):
        option.numprocesses = "logical"
        option.maxprocesses = option.maxprocesses or MOST_PROCESSES
        if option.dist == "no":
            # Neighbors stay together, whose module's fixtures and programs they share.
            option.dist = "worksteal"


@pytest.fixture(scope="module", autouse=True)
def programs_end_where_there_are_too_many():
    """Modules share what is compiled, up to a limit beyond which there are crashes."""
    yield
    if "jax" in sys.modules and _memory_maps() > MOST_MAPS:
        sys.modules["jax"].clear_caches()


def _memory_maps() -> int:
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # no Linux, which has no such limit
        return 0


def _make_room():
    """Deletes the programs used longest ago where all of them need too much room."""
    found = []
    for path in KEPT.glob("*/*"):
        state = path.stat()
        found.append((max(state.st_atime, state.st_mtime), state.st_size, path))
    held = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held <= ROOM:
            return
        path.unlink(missing_ok=True)
        held -= size
