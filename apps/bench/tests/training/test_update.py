"""The optimizer and frozen parts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench.model.building import build_potential
from bench.settings.architectures import MACESettings, ModelSettings
from bench.settings.grid import Run
from bench.settings.training import TrainSettings
from bench.training.update import make_optimizer, mask_updates


@pytest.mark.parametrize(("name", "factor"), [("adamw", 1.0), ("nadam", 28 / 19)])
def test_the_first_step_is_that_of_the_optimizer(name, factor):
    """Learning rate times the sign of the gradient; Nesterov adds a factor 28 / 19."""
    settings = TrainSettings(optimizer=name, learning_rate=0.1, weight_decay=0.2)
    optimizer = make_optimizer(settings, 10**6)
    weights, gradient = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.004])
    update, _ = optimizer.update(gradient, optimizer.init(weights), weights)
    expected = -0.1 * (factor * jnp.sign(gradient) + 0.2 * weights)
    np.testing.assert_allclose(update, expected, rtol=1e-4)


def test_equal_settings_share_compiled_steps():
    first, second = (TrainSettings(warmup_fraction=0.1) for _ in range(2))
    assert make_optimizer(first, 10) is make_optimizer(second, 10)
    assert make_optimizer(first, 10) is not make_optimizer(first, 11)


def test_layers_are_frozen_by_name():
    """Masked updates are zero in frozen parts and unchanged elsewhere."""
    settings = ModelSettings(mace=MACESettings(channels=4, l_max=1, radial_mlp=(8,)))
    potential = build_potential(
        settings,
        Run("own", "random", "mace", "celli+les", 0),
        {1: 0.0, 8: 0.0},
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    ones = jax.tree.map(jnp.ones_like, eqx.filter(potential, eqx.is_inexact_array))
    masked = mask_updates(ones, ("les",)).backbone
    values = lambda tree: {float(x.max()) for x in jax.tree.leaves(tree)}
    assert values(masked.hooks.layers["final"]) == {0.0}
    assert (
        values(masked.hooks.layers["block 1"]) == values(masked.interactions) == {1.0}
    )
    assert values(mask_updates(ones, ("long_range",)).backbone.hooks) == {0.0}
