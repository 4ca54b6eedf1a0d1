"""Training loss."""

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
    step_targets: Targets | None = None,
) -> Float[Array, ""]:
    """Weighted mean squared error of energies, forces, stress, charges and dipoles.

    `LossSettings.form` defines how each mean is taken.

    Args:
        potential: to train.
        batch: inputs.
        targets: labels of the batch.
        settings: weights and form.
        step_targets: labels of all batches of the step, which normalize the means: the
            losses of the batches then add up to the loss of the step. None if the step
            is this batch alone.
    """
    needs_derivatives = bool(settings.force or settings.stress)
    if needs_derivatives:
        out = potential(batch)
    else:
        out = _energies_and_charges(potential, batch)
    step_targets = targets if step_targets is None else step_targets
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
    penalty = (
        jnp.square if settings.huber_delta is None else _huber(settings.huber_delta)
    )
    total = jnp.zeros(())
    for kind, residual in terms.items():
        weights = _label_weights(targets, kind, published)
        step_weights = _label_weights(step_targets, kind, published)
        # All components of one label have its weight.
        penalties = penalty(residual).reshape(*weights.shape, -1).mean(-1)
        if loss_weight := settings.weights[kind]:
            # Avoids 0/0 when no structure has this label.
            normalizer = jnp.sum(step_weights)
            normalizer = jnp.where(normalizer > 0, normalizer, 1.0)
            mean = jnp.sum(penalties * weights) / normalizer
            total += loss_weight * mean
    return total


class _EnergiesAndCharges(NamedTuple):
    """A `backbones.Prediction` without derivatives of the energy."""

    energy: Array
    charges: Array
    forces: None = None
    stress: None = None


def _energies_and_charges(potential: Potential, batch: Batch) -> _EnergiesAndCharges:
    energies, charges = potential.energies(batch)
    return _EnergiesAndCharges(energies.sum(1), charges)


def _label_weights(targets: Targets, kind: str, published: bool) -> Array:
    """Returns the weight of each label in its mean."""
    weight = jnp.asarray(getattr(targets, f"{kind}_weight"))
    if published and kind == "energy":
        return weight * targets.num_atoms
    if published and kind in ("force", "charge"):
        return weight / jnp.maximum(weight.sum(-1, keepdims=True), 1.0)
    return weight


def _huber(delta):
    """Returns a Huber penalty: squared below `delta`, linear above."""
    return lambda x: 2 * optax.losses.huber_loss(x, delta=delta)
