"""The optimizer and its schedule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench.settings.training import TrainSettings
from bench.training.optimizer import MUON_UPDATE, make_optimizer


def first_update(gradient, weights, **settings):
    optimizer = make_optimizer(TrainSettings(**settings), 10**6)
    return optimizer.update(gradient, optimizer.init(weights), weights)[0]


@pytest.mark.parametrize(("name", "factor"), [("adamw", 1.0), ("nadam", 28 / 19)])
def test_the_first_step_is_that_of_the_optimizer(name, factor):
    """Learning rate times the sign of the gradient; Nesterov adds a factor 28 / 19."""
    weights, gradient = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.004])
    settings = {"learning_rate": 0.1, "weight_decay": 0.2, "warmup_fraction": 0.0}
    update = first_update(gradient, weights, optimizer=name, **settings)
    expected = -0.1 * (factor * jnp.sign(gradient) + 0.2 * weights)
    np.testing.assert_allclose(update, expected, rtol=1e-4)


class Layer(eqx.Module):
    """A matrix per element, and an array that is none although it has three axes."""

    weight: jax.Array
    table: jax.Array


def test_muon_orthogonalizes_each_matrix():
    """U V of the singular value decomposition; other weights are those of NAdam."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(1e-3 * rng.normal(size=shape))
    scales = jnp.array([1.0, 1e3])[:, None, None, None]
    gradient = [
        Layer(weight=normal(2, 3, 4, 6) * scales, table=normal(2, 4, 4)),
        Layer(weight=normal(5, 1), table=normal(5)),
    ]
    settings = {"learning_rate": 0.1, "weight_decay": 0.0, "warmup_fraction": 0.0}
    update = first_update(gradient, gradient, optimizer="muon", **settings)
    nadam = first_update(gradient, gradient, optimizer="nadam", **settings)
    rest = lambda x: (x[0].table, x[1].weight, x[1].table)
    for value, expected in zip(rest(update), rest(nadam), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    u, _, v = np.linalg.svd(gradient[0].weight, full_matrices=False)
    expected = -0.1 * MUON_UPDATE * (u @ v) * 6**0.5
    # Five Newton-Schulz iterations give singular values between 0.7 and 1.2.
    ratios = np.linalg.svd(update[0].weight)[1] / np.linalg.svd(expected)[1]
    assert ratios.min() > 0.6 and ratios.max() < 1.3
    norms = [np.linalg.norm(x, axis=(-2, -1)) for x in (update[0].weight, expected)]
    cosine = np.sum(update[0].weight * expected, (-2, -1)) / np.prod(norms, 0)
    assert cosine.min() > 0.95


@pytest.mark.parametrize(
    ("exponent", "expected"), [(0, [5, 7.5, 10, 10]), (1, [5, 7.5, 7.5, 5])]
)
def test_the_rate_rises_and_decays(exponent, expected):
    """Ten steps with two of warm-up; at the steps 0, 1, 4 and 6."""
    settings = TrainSettings(
        optimizer="adamw",
        learning_rate=10.0,
        weight_decay=0.0,
        warmup_fraction=0.2,
        decay_exponent=exponent,
    )
    optimizer, weight = make_optimizer(settings, 10), jnp.array([0.0])
    state, rates = optimizer.init(weight), []
    for _ in range(7):
        # A constant gradient: each update is the rate.
        update, state = optimizer.update(jnp.array([1.0]), state, weight)
        rates.append(-float(update[0]))
    np.testing.assert_allclose([rates[i] for i in (0, 1, 4, 6)], expected, rtol=1e-4)


def test_equal_settings_share_compiled_steps():
    first, second = (TrainSettings(warmup_fraction=0.1) for _ in range(2))
    assert make_optimizer(first, 10) is make_optimizer(second, 10)
    assert make_optimizer(first, 10) is not make_optimizer(first, 11)
