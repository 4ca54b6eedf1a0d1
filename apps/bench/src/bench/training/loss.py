"""What training makes small."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from backbones import Batch, Potential
from jaxtyping import Array, Float

from bench.batches.loading import Targets
from bench.evaluation.response import dipoles
from bench.settings.training import LossSettings


def loss(
    potential: Potential,
    batch: Batch,
    targets: Targets,
    settings: LossSettings,
    whole: Targets | None = None,
) -> Float[Array, ""]:
    """Weighted mean squared error of energies, forces, stress, charges and dipoles.

    See `LossSettings.form` for what is a mean over what.

    Args:
        potential: predicts.
        batch: inputs.
        targets: labels of the batch.
        settings: weights.
        whole: labels of all the batches of the step, whose losses sum to the mean over
            all of them; this batch alone if absent.
    """
    slopes = bool(settings.force or settings.stress)
    out = potential(batch) if slopes else _without_slopes(potential, batch)
    whole = targets if whole is None else whole
    published = settings.form == "published"
    atoms = 1.0 if published else jnp.maximum(batch.mask.sum(1), 1)
    terms = {
        "energy": (out.energy - targets.energy) / atoms,
        "charge": out.charges - targets.charges,
    }
    if out.forces is not None:
        terms["force"] = out.forces - targets.forces
    if out.stress is not None:
        terms["stress"] = out.stress - targets.stress
    elif settings.dipole and batch.cell is None:
        terms["dipole"] = dipoles(batch, out.charges) - targets.dipoles
    size = jnp.square if settings.huber is None else _huber(settings.huber)
    total = jnp.zeros(())
    for kind, apart in terms.items():
        weight, of_all = (_weights(t, kind, published) for t in (targets, whole))
        # All components of one label have its weight.
        squares = size(apart).reshape(*weight.shape, -1).mean(-1)
        if strength := settings.weights[kind]:
            # Of no labels at all the sum is zero, whatever it is divided by.
            labels = jnp.sum(of_all)
            mean = jnp.sum(squares * weight) / jnp.where(labels > 0, labels, 1.0)
            total += strength * mean
    return total


class _Values(NamedTuple):
    """Predictions without derivatives of the energy, as `backbones.Prediction`."""

    energy: Array
    charges: Array
    forces: None = None
    stress: None = None


def _without_slopes(potential: Potential, batch: Batch) -> _Values:
    energies, charges = potential.energies(batch)
    return _Values(energies.sum(1), charges)


def _weights(targets: Targets, kind: str, published: bool) -> Array:
    """Of each label in its mean: one, or as the published form has it."""
    weight = jnp.asarray(getattr(targets, f"{kind}_weight"))
    if published and kind == "energy":
        return weight * targets.atoms
    if published and kind in ("force", "charge"):
        return weight / jnp.maximum(weight.sum(-1, keepdims=True), 1.0)
    return weight


def _huber(delta):
    """Squared below `delta`, beyond it linear with the slope reached there."""
    return lambda x: 2 * optax.losses.huber_loss(x, delta=delta)
