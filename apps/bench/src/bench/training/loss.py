"""Training loss."""

import jax.numpy as jnp
import optax
from backbones import Batch, Potential
from jaxtyping import Array, Float

from bench.batches.targets import Targets
from bench.evaluation.outputs import outputs_of
from bench.labels import LABELS_BY_KIND
from bench.settings.training import LossSettings


def loss(
    potential: Potential,
    batch: Batch,
    targets: Targets,
    settings: LossSettings,
    step_targets: Targets | None = None,
) -> Float[Array, ""]:
    """Weighted mean squared error of all kinds of labels with a weight.

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
    weighted = {kind: weight for kind, weight in settings.weights.items() if weight}
    outputs, _ = outputs_of(potential, batch, weighted)
    step_targets = targets if step_targets is None else step_targets
    published = settings.form == "published"
    atoms = 1.0 if published else jnp.maximum(batch.mask.sum(1), 1)
    penalty = (
        jnp.square if settings.huber_delta is None else _huber(settings.huber_delta)
    )
    residuals = {
        kind: LABELS_BY_KIND[kind].residual(output, targets.values[kind], atoms)
        for kind, output in outputs.items()
        if kind in weighted
    }
    total = jnp.zeros(())
    for kind, residual in residuals.items():
        weights = _label_weights(targets, kind, published)
        step_weights = _label_weights(step_targets, kind, published)
        # All components of one label have its weight.
        penalties = penalty(residual).reshape(*weights.shape, -1).mean(-1)
        # Avoids 0/0 when no structure has this label.
        normalizer = jnp.sum(step_weights)
        normalizer = jnp.where(normalizer > 0, normalizer, 1.0)
        mean = jnp.sum(penalties * weights) / normalizer
        total += weighted[kind] * mean
    return total


def _label_weights(targets: Targets, kind: str, published: bool) -> Array:
    """Returns the weight of each label in its mean."""
    weight = jnp.asarray(targets.weights[kind])
    if published and LABELS_BY_KIND[kind].is_extensive:
        return weight * targets.num_atoms
    if published and LABELS_BY_KIND[kind].per_atom:
        return weight / jnp.maximum(weight.sum(-1, keepdims=True), 1.0)
    return weight


def _huber(delta):
    """Returns a Huber penalty: squared below `delta`, linear above."""
    return lambda x: 2 * optax.losses.huber_loss(x, delta=delta)
