"""How much memory a run takes at its worst."""

import contextlib
from pathlib import Path

import jax

_PROCESS = Path("/proc/self")


def reset_peak_memory() -> None:
    """Forgets the largest use of memory so far, where the system can."""
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak_memory() -> float | None:
    """The largest use since `reset_peak_memory`, MiB; None where nobody counts it.

    Of the first device where that has memory of its own, else of the process.
    """
    counted = jax.local_devices()[0].memory_stats()
    if counted and "peak_bytes_in_use" in counted:
        return counted["peak_bytes_in_use"] / 2**20
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(found[0]) / 1024 if found else None
