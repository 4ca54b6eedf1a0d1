"""Builds the potential of a run."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from backbones import (
    MACE,
    Allegro,
    AllegroSize,
    Backbone,
    DimeNet,
    DimeNetSize,
    LongRange,
    MACESize,
    Potential,
    Sum,
    TotalCharge,
)
from jaxtyping import PRNGKeyArray
from lr_celli import ChargeEquilibration
from lr_efa import EuclideanFastAttention
from lr_les import LatentEwald

from ._config import LAYERS, ModelSettings, Run

_BACKBONES = {
    "mace": (MACE, MACESize),
    "allegro": (Allegro, AllegroSize),
    "dimenet": (DimeNet, DimeNetSize),
}


def build_potential(
    settings: ModelSettings,
    run: Run,
    references: dict[int, float],
    *,
    average_neighbours: float,
    scale: float,
) -> Potential:
    """A fresh potential for the elements of `references`.

    Models that differ in their long-range layers start from the same backbone weights,
    and each layer from its own, whatever stands beside it.

    Args:
        settings: shapes of backbones and layers.
        run: names the backbone, the layers and the seed.
        references: eV by atomic number.
        average_neighbours: of an atom in the training data.
        scale: of the backbone's energies, eV.
    """
    first, _ = jax.random.split(jax.random.key(run.seed))
    model, _ = _BACKBONES[run.backbone]
    layers, charges = layers_of(settings, run)
    size = _size(settings, run)
    backbone: Backbone = model(
        tuple(references),
        size,
        cutoff=settings.cutoff,
        average_neighbours=average_neighbours,
        long_range=layers,
        charges=charges,
        key=first,
    )
    return Potential(backbone, references, scale=scale)


def _size(settings: ModelSettings, run: Run) -> Any:
    return _BACKBONES[run.backbone][1](**getattr(settings, run.backbone).model_dump())


def layers_of(
    settings: ModelSettings, run: Run
) -> tuple[Mapping[str, LongRange], str | None]:
    """The fresh layers of a run by hook, and the hook whose charges are the model's.

    Args:
        settings: shapes of backbones and layers.
        run: names the backbone, the layers and the seed.
    """
    _, key = jax.random.split(jax.random.key(run.seed))
    makers, widths = _makers(settings), _size(settings, run).widths
    keys = dict(zip(LAYERS, jax.random.split(key, len(LAYERS)), strict=True))
    found: dict[str, list[Any]] = {}
    charges = None
    for name in LAYERS:
        if name not in run.long_range.split("+"):
            continue
        for i, hook in enumerate(_hooks(name, run.backbone, list(widths))):
            own = jax.random.fold_in(keys[name], i)
            found.setdefault(hook, []).append(makers[name](widths[hook], own))
            # Equilibrated charges are labelled ones; latent ones stand in.
            if name == "celli" or (name == "les" and charges is None):
                charges = hook
    layers: dict[str, Any] = {
        hook: several[0] if len(several) == 1 else Sum(tuple(several))
        for hook, several in found.items()
    }
    return layers, charges or next(iter(layers), None)


def _makers(
    settings: ModelSettings,
) -> dict[str, Callable[[int, PRNGKeyArray], LongRange]]:
    """How each layer is made for a hook's width."""
    options = lambda name: getattr(settings, name).model_dump()
    return {
        "charge": lambda width, key: TotalCharge(width, key=key),
        "celli": lambda width, key: ChargeEquilibration(
            width, **options("celli"), key=key
        ),
        "efa": lambda width, key: EuclideanFastAttention(
            width, **options("efa"), key=key
        ),
        "les": lambda width, key: LatentEwald(width, **options("les"), key=key),
    }


def _hooks(layer: str, backbone: str, offered: list[str]) -> list[str]:
    """Where a layer enters: the published places.

    Args:
        layer: its name.
        backbone: its name.
        offered: the backbone's hooks, first to last.
    """
    blocks = [hook for hook in offered if hook.startswith("block")]
    if layer == "charge":
        return ["embedding"]
    if layer == "les":
        return ["final"]
    if backbone == "mace":
        return blocks if layer == "efa" else blocks[:1]
    return ["embedding"] if layer == "efa" else blocks[-1:]
