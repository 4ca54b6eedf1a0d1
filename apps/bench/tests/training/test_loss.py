"""The training loss against sums computed by hand."""

from types import SimpleNamespace

import backbones as bb
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from bench.batches.targets import Targets
from bench.settings.training import LossSettings
from bench.training.loss import loss

SHAPES = (2,), (2, 3, 3), (2, 6), (2, 3), (2, 3)
KINDS = ("energy", "force", "stress", "charge", "dipole")


class FixedPotential(eqx.Module):
    """A potential that returns a given prediction."""

    prediction: bb.Prediction

    def __call__(self, batch):
        return self.prediction


def test_the_loss_is_the_weighted_mean_over_existing_labels():
    rng = np.random.default_rng(0)
    mask = np.array([[1, 1, 1], [1, 1, 0]], bool)
    predicted = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    labels = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    has_force = np.array([[1, 1, 1], [0, 0, 0]], np.float32)
    has_charge = np.array([[0, 0, 0], [1, 1, 0]], np.float32)
    sizes = mask.sum(1).astype(np.float32)
    weights = np.ones(2, np.float32), has_force, np.zeros(2), has_charge, np.ones(2)
    targets = Targets(
        dict(zip(KINDS, labels, strict=True)),
        dict(zip(KINDS, weights, strict=True)),
        sizes,
    )
    potential = FixedPotential(
        bb.Prediction(
            predicted[0], np.zeros((2, 3)), predicted[1], predicted[2], predicted[3]
        )
    )
    batch = SimpleNamespace(mask=jnp.asarray(mask))
    energy = np.mean(((predicted[0] - labels[0]) / [3, 2]) ** 2)
    forces = np.mean((predicted[1][0] - labels[1][0]) ** 2)
    charges = np.mean((predicted[3][1, :2] - labels[3][1, :2]) ** 2)
    settings = LossSettings(energy=2.0, force=3.0, stress=7.0, charge=5.0)
    value = loss(potential, batch, targets, settings)
    np.testing.assert_allclose(value, 2 * energy + 3 * forces + 5 * charges, rtol=1e-5)

    published = settings.model_copy(update={"form": "published", "stress": 0.0})
    energy = np.sum((predicted[0] - labels[0]) ** 2 * [3, 2]) / 5
    value = loss(potential, batch, targets, published)
    np.testing.assert_allclose(value, 2 * energy + 3 * forces + 5 * charges, rtol=1e-5)

    huber = LossSettings(energy=0.0, force=1.0, charge=0.0, huber_delta=0.5)
    residuals = np.abs(predicted[1][0] - labels[1][0])
    expected = np.mean(
        np.where(residuals < 0.5, residuals**2, 2 * 0.5 * residuals - 0.25)
    )
    np.testing.assert_allclose(
        loss(potential, batch, targets, huber), expected, rtol=1e-5
    )
