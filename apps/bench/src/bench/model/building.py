"""Construction of the potential of a run."""

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
"""Classes of the long-range layers, by their name in settings."""

_PUBLISHED_WIDTH = 7.0
"""Å, width of the Gaussian charges in the published code."""


def build_potential(
    settings: ModelSettings,
    run: Run,
    atomic_energies: dict[int, float],
    *,
    avg_num_neighbors: float,
    scale: float,
) -> Potential:
    """Builds a potential with initial weights.

    For a given seed, the initial weights of the backbone do not depend on the
    long-range layers, and those of a layer do not depend on the other layers.

    Args:
        settings: sizes of backbones and layers.
        run: name of the backbone, names of the layers, and seed.
        atomic_energies: eV by atomic number, of the supported elements.
        avg_num_neighbors: average number of neighbors per atom in the training data.
        scale: factor of the backbone's energies, eV.
    """
    backbone_key, _ = jax.random.split(jax.random.key(run.seed))
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
        key=backbone_key,
    )
    return Potential(backbone, atomic_energies, scale=scale, zbl=settings.zbl)


def hook_widths(settings: ModelSettings, run: Run) -> dict[str, int]:
    """Returns the number of feature channels at each hook of the backbone of a run.

    Args:
        settings: sizes of the backbones.
        run: name of the backbone.
    """
    return dict(_size(settings, run).widths)


def _size(settings: ModelSettings, run: Run) -> Any:
    _, size_class = _BACKBONES[run.backbone]
    return size_class(**settings.of_backbone(run.backbone).model_dump())


def build_layers(
    settings: ModelSettings, run: Run
) -> tuple[Mapping[str, LongRange], str | None]:
    """Builds the long-range layers of a run with initial weights.

    Args:
        settings: sizes of backbones and layers.
        run: name of the backbone, names of the layers, and seed.

    Returns:
        The layers by hook, and the hook whose charges are those of the model.
    """
    _, key = jax.random.split(jax.random.key(run.seed))
    constructors, widths = _constructors(settings), hook_widths(settings, run)
    keys = dict(zip(LAYERS, jax.random.split(key, len(LAYERS)), strict=True))
    layers_by_hook: dict[str, list[Any]] = {}
    charges = None
    for name in LAYERS:
        if name not in run.long_range.split("+"):
            continue
        for i, hook in enumerate(_hooks(name, run.backbone, list(widths))):
            layer = constructors[name](widths[hook], jax.random.fold_in(keys[name], i))
            layers_by_hook.setdefault(hook, []).append(layer)
            # Equilibrated charges, which have labels, take precedence over latent ones.
            if name == "celli" or (name == "les" and charges is None):
                charges = hook
    layers: dict[str, Any] = {
        hook: members[0] if len(members) == 1 else Sum(tuple(members))
        for hook, members in layers_by_hook.items()
    }
    return layers, charges or next(iter(layers), None)


def _constructors(
    settings: ModelSettings,
) -> dict[str, Callable[[int, PRNGKeyArray], LongRange]]:
    """Returns functions that build a layer from the width of its hook and a key."""
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
    """Builds a charge equilibration layer.

    With published widths, each element has a width of `_PUBLISHED_WIDTH`, as in the
    published code: larger than most interatomic distances, so that electrostatic
    interactions nearly vanish.
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
        # The inverse of softplus in a form that does not overflow.
        raw = jnp.asarray(ratio + np.log(-np.expm1(-ratio)), layer.raw_width.dtype)
        layer = eqx.tree_at(lambda layer: layer.raw_width, layer, raw)
    return PolarizableChargeEquilibration(layer) if polarizable else layer


def _hooks(layer: str, backbone: str, hooks: list[str]) -> list[str]:
    """Returns the hooks at which a layer is inserted, as published.

    Args:
        layer: name of the layer.
        backbone: name of the backbone.
        hooks: of the backbone, first to last.
    """
    blocks = [hook for hook in hooks if hook.startswith("block")]
    if layer == "charge":
        return ["embedding"]
    if layer == "les":
        return ["final"]
    if backbone in ("mace", "mp4"):
        return blocks if layer == "efa" else blocks[:1]
    return ["embedding"] if layer == "efa" else blocks[-1:]
