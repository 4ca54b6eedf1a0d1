"""Construction of the potential of a run."""

import zlib
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import (
    LongRange,
    Potential,
    Sum,
    backbone_class,
    layer_class,
)
from jaxtyping import PRNGKeyArray
from lr_celli import COVALENT_RADII

from bench.model.other_packages import (
    build_other_layer,
    build_size,
    hook_of,
    load_class,
)
from bench.settings.architectures import ModelSettings
from bench.settings.grid import Run
from bench.settings.installed import LAYERS

# Entry points of backbones and layers that have another name in settings, or several.
_BACKBONES = {"mp4": "mace"}
_LAYERS = {"celli": ("celli", "celli-polarizable")}

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
    layers, charges = build_layers(settings, run)
    kind = load_class(backbone_class, _BACKBONES.get(run.backbone, run.backbone))
    backbone = kind(
        tuple(atomic_energies),
        _size(settings, run),
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


def layer_classes(name: str) -> tuple[type, ...]:
    """Returns the classes that a long-range layer can have.

    Args:
        name: of the layer in settings.
    """
    return tuple(map(layer_class, _LAYERS.get(name, (name,))))


def _size(settings: ModelSettings, run: Run) -> Any:
    """Returns the hyperparameters of the backbone of a run."""
    name = run.backbone
    return build_size(name, _BACKBONES.get(name, name), settings.of_backbone(name))


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
    widths = hook_widths(settings, run)
    keys = dict(zip(LAYERS, jax.random.split(key, len(LAYERS)), strict=True))
    names = set(run.long_range.split("+")) - {"none"}
    layers_by_hook: dict[str, list[Any]] = {}
    charges = None
    # Those with settings of their own in a fixed order, then those of other packages.
    for name in (*(n for n in LAYERS if n in names), *sorted(names - set(LAYERS))):
        if name in LAYERS:
            layer_key, hooks = keys[name], _hooks(name, run.backbone, list(widths))
        else:
            layer_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
            hooks = [hook_of(settings, name, list(widths))]
        for i, hook in enumerate(hooks):
            layer = _layer(
                settings, name, widths[hook], jax.random.fold_in(layer_key, i)
            )
            layers_by_hook.setdefault(hook, []).append(layer)
            # Equilibrated charges, which have labels, take precedence over latent ones.
            if name == "celli" or (name == "les" and charges is None):
                charges = hook
    layers: dict[str, Any] = {
        hook: members[0] if len(members) == 1 else Sum(tuple(members))
        for hook, members in layers_by_hook.items()
    }
    return layers, charges or next(iter(layers), None)


def _layer(
    settings: ModelSettings, name: str, width: int, key: PRNGKeyArray
) -> LongRange:
    """Builds a long-range layer for a number of channels."""
    if name == "celli":
        return _equilibration(width, settings.celli.model_dump(), key)
    if name in LAYERS:
        section = getattr(settings, name, None)
        options = {} if section is None else section.model_dump()
        return layer_class(name)(width, **options, key=key)
    return build_other_layer(settings, name, width, key)


def _equilibration(width: int, options: dict[str, Any], key: PRNGKeyArray) -> LongRange:
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
    layer = layer_class("celli")(width, **options, key=key)
    if published:
        radii = np.where(np.isfinite(COVALENT_RADII), COVALENT_RADII, 1.0)
        ratio = _PUBLISHED_WIDTH / np.maximum(radii, 0.1)
        # The inverse of softplus in a form that does not overflow.
        raw = jnp.asarray(ratio + np.log(-np.expm1(-ratio)), layer.raw_width.dtype)
        layer = eqx.tree_at(lambda layer: layer.raw_width, layer, raw)
    return layer_class("celli-polarizable")(layer) if polarizable else layer


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
    if layer == "efa":
        return ["embedding"]
    return blocks[-1:] or ["final"]
