"""A layer is rebuilt from plain values: the arguments of its constructor."""

import json
from importlib.metadata import entry_points

import jax
import jax.random as jr
import numpy as np
import pytest
from lr_les import Coulomb, GaussianSum, InverseSixth, LatentEwald


class OtherKernel(Coulomb):
    """A kernel that is not one of this package."""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"charge_channels": 3, "learn_sigma": True, "sigma": 1.3, "dl": 2.0},
        {"multipoles": 2, "neutralize": True, "remove_self": False, "method": "mesh"},
        {"kernel": lambda: Coulomb(14.0), "tolerance": 1e-4, "multipoles": 1},
        {"kernel": InverseSixth},
        {"kernel": lambda: GaussianSum(np.ones(3), np.array([1.05, 1.6, 2.4]))},
    ],
    ids=lambda options: ", ".join(options) or "defaults",
)
def test_a_rebuilt_layer_has_the_same_architecture(options):
    options = {k: v() if k == "kernel" else v for k, v in options.items()}
    layer = LatentEwald(5, key=jr.key(0), **options)
    arguments = json.loads(json.dumps(layer.arguments()))
    rebuilt = LatentEwald.from_arguments(arguments, key=jr.key(1))
    shapes = lambda layer: jax.tree.map(lambda x: (x.shape, x.dtype), layer)
    # The structure contains all static fields.
    assert jax.tree.structure(rebuilt) == jax.tree.structure(layer)
    assert jax.tree.leaves(shapes(rebuilt)) == jax.tree.leaves(shapes(layer))
    assert rebuilt.arguments() == layer.arguments()
    assert np.any(np.asarray(rebuilt.weight) != np.asarray(layer.weight))


def test_other_kernels_raise_errors():
    layer = LatentEwald(5, kernel=OtherKernel(), key=jr.key(0))
    with pytest.raises(ValueError, match="Only the kernels .* got `OtherKernel`"):
        layer.arguments()
    arguments = LatentEwald(5, key=jr.key(0)).arguments()
    with pytest.raises(ValueError, match="name of a kernel is .* got 'Yukawa'"):
        LatentEwald.from_arguments(
            arguments | {"kernel": {"name": "Yukawa"}}, key=jr.key(0)
        )


def test_the_layer_is_found_by_its_entry_point():
    (entry,) = entry_points(group="backbones.long_range", name="les")
    assert entry.load() is LatentEwald
