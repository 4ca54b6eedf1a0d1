"""The benchmark: backbones, long-range layers and splits composed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.model.saved import load_potential as load_potential


def __getattr__(name: str) -> Any:
    # Not imported with the command, whose help answers before jax is loaded.
    if name == "load_potential":
        from bench.model.saved import load_potential

        return load_potential
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
