"""Peak memory of a run."""

import contextlib
from pathlib import Path

import jax

_PROCESS = Path("/proc/self")


def reset_peak_memory() -> None:
    """Resets the peak memory of this process, if the system supports it."""
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak_memory() -> float | None:
    """Returns the peak memory in MiB; None if it is not available.

    On a GPU that of the first device; otherwise that of the process since
    `reset_peak_memory`.
    """
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"] / 2**20
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peaks[0]) / 1024 if peaks else None
