"""Builds the potential of a run."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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
from lr_celli import (
    COVALENT_RADII,
    ChargeEquilibration,
    PolarizableChargeEquilibration,
)
from lr_efa import EuclideanFastAttention
from lr_les import LatentEwald

from bench.settings.architectures import ModelSettings
from bench.settings.grid import LAYERS, Run

_BACKBONES = {
    "mace": (MACE, MACESize),
    "mp4": (MACE, MACESize),
    "allegro": (Allegro, AllegroSize),
    "dimenet": (DimeNet, DimeNetSize),
}


LAYER_CLASSES = {
    "charge": TotalCharge,
    "celli": (ChargeEquilibration, PolarizableChargeEquilibration),
    "efa": EuclideanFastAttention,
    "les": LatentEwald,
}
"""Classes of the long-range layers by name."""

_PUBLISHED_WIDTH = 7.0
"""Å, of the published code's Gaussians."""


def build_potential(
    settings: ModelSettings,
    run: Run,
    atomic_energies: dict[int, float],
    *,
    avg_num_neighbors: float,
    scale: float,
) -> Potential:
    """A fresh potential for the elements of `atomic_energies`.

    Models that differ in their long-range layers start from the same backbone weights,
    and each layer from its own, whatever stands beside it.

    Args:
        settings: shapes of backbones and layers.
        run: names the backbone, the layers and the seed.
        atomic_energies: eV by atomic number.
        avg_num_neighbors: of an atom in the training data.
        scale: of the backbone's energies, eV.
    """
    first, _ = jax.random.split(jax.random.key(run.seed))
    model, _ = _BACKBONES[run.backbone]
    layers, charges = build_layers(settings, run)
    size = _size(settings, run)
    backbone: Backbone = model(
        tuple(atomic_energies),
        size,
        cutoff=settings.cutoff,
        avg_num_neighbors=avg_num_neighbors,
        long_range=layers,
        charges=charges,
        key=first,
    )
    return Potential(backbone, atomic_energies, scale=scale, zbl=settings.zbl)


def hook_widths(settings: ModelSettings, run: Run) -> dict[str, int]:
    """Channels of the features at every hook of a run's backbone.

    Args:
        settings: shapes of the backbones.
        run: names the backbone.
    """
    return dict(_size(settings, run).widths)


def _size(settings: ModelSettings, run: Run) -> Any:
    shape = settings.shape_of(run.backbone).model_dump()
    return _BACKBONES[run.backbone][1](**shape)


def build_layers(
    settings: ModelSettings, run: Run
) -> tuple[Mapping[str, LongRange], str | None]:
    """The fresh layers of a run by hook, and the hook whose charges are the model's.

    Args:
        settings: shapes of backbones and layers.
        run: names the backbone, the layers and the seed.
    """
    _, key = jax.random.split(jax.random.key(run.seed))
    makers, widths = _makers(settings), hook_widths(settings, run)
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
        "celli": lambda width, key: _equilibration(width, options("celli"), key),
        "efa": lambda width, key: EuclideanFastAttention(
            width, **options("efa"), key=key
        ),
        "les": lambda width, key: LatentEwald(width, **options("les"), key=key),
    }


def _equilibration(
    width: int, options: dict[str, Any], key: PRNGKeyArray
) -> ChargeEquilibration | PolarizableChargeEquilibration:
    """A fresh layer, with dipoles, or its widths where published, if asked for.

    There a width was softplus(R + r) with r near `_PUBLISHED_WIDTH`, whatever the
    element: wider than most neighbours are apart, so that electrostatics vanish.
    """
    published = options.pop("widths") == "published"
    polarizable = options.pop("polarizable")
    if polarizable:
        options["solver"] = "dense"
    if published:
        options["width_bounds"] = (0.1, 1.5 * _PUBLISHED_WIDTH)
    layer = ChargeEquilibration(width, **options, key=key)
    if published:
        radii = np.where(np.isfinite(COVALENT_RADII), COVALENT_RADII, 1.0)
        ratio = _PUBLISHED_WIDTH / np.maximum(radii, 0.1)
        # The inverse of softplus, written so that it does not overflow.
        raw = jnp.asarray(ratio + np.log(-np.expm1(-ratio)), layer.raw_width.dtype)
        layer = eqx.tree_at(lambda one: one.raw_width, layer, raw)
    return PolarizableChargeEquilibration(layer) if polarizable else layer


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
    if backbone in ("mace", "mp4"):
        return blocks if layer == "efa" else blocks[:1]
    return ["embedding"] if layer == "efa" else blocks[-1:]
