"""Versions of the software and the machine type."""

import platform
from importlib import metadata
from typing import Any


def environment() -> dict[str, Any]:
    """Returns the versions of Python and of packages, and the machine type."""
    names = ("jax", "jaxlib", "equinox", "e3nn-jax", "optax", "numpy", "scikit-learn")
    members = ("backbones", "bench", "chemsplit", "lr-celli", "lr-efa", "lr-les")
    versions = {n: metadata.version(n) for n in (*names, *members)}
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
    } | versions
