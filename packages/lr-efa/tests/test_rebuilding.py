"""A layer is rebuilt from plain values: the arguments of its constructor."""

import json
from importlib.metadata import entry_points

import jax
import jax.random as jr
import numpy as np
import pytest
from lr_efa import EuclideanFastAttention, lebedev_grid


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"degree": 1, "learn_coupling": True, "normalize": "never"},
        {"num_heads": 3, "qk_size": 4, "v_size": 5, "shell_thickness": 0.3},
        {"method": "quadrature", "boundary": "ignore"},
        {"degree": 2, "quadrature_grid": lebedev_grid(12.0, 2e-6, degree=2)},
    ],
    ids=str,
)
def test_a_rebuilt_layer_has_the_same_architecture(options):
    layer = EuclideanFastAttention(6, omega_max=1.5, key=jr.key(0), **options)
    arguments = json.loads(json.dumps(layer.arguments()))
    rebuilt = EuclideanFastAttention.from_arguments(arguments, key=jr.key(1))
    shapes = lambda layer: jax.tree.map(lambda x: (x.shape, x.dtype), layer)
    # The structure contains all static fields.
    assert jax.tree.structure(rebuilt) == jax.tree.structure(layer)
    assert jax.tree.leaves(shapes(rebuilt)) == jax.tree.leaves(shapes(layer))
    assert rebuilt.arguments() == layer.arguments()
    assert np.any(np.asarray(rebuilt.query) != np.asarray(layer.query))


def test_the_layer_is_found_by_its_entry_point():
    (entry,) = entry_points(group="backbones.long_range", name="efa")
    assert entry.load() is EuclideanFastAttention
