"""JAX's persistent compilation cache."""

import os
from pathlib import Path


def enable_compilation_cache() -> None:
    """Makes JAX store compiled programs on disk for later and parallel runs.

    Environment variables that are already set take precedence.
    """
    # Environment variables, because worker processes inherit them.
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(home / "long-range-bench")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
