"""A layer is rebuilt from plain values: the arguments of its constructor."""

import json
from importlib.metadata import entry_points

import jax
import jax.random as jr
import numpy as np
import pytest
from lr_celli import (
    ChargeEmbedding,
    ChargeEquilibration,
    PolarizableChargeEquilibration,
)

POLARIZABLE = PolarizableChargeEquilibration


def polarizable(key):
    return POLARIZABLE(ChargeEquilibration(5, solver="dense", hidden=(7,), key=key))


@pytest.mark.parametrize(
    ("make", "rebuild"),
    [
        (lambda key: ChargeEquilibration(5, key=key), ChargeEquilibration),
        (
            lambda key: ChargeEquilibration(
                5,
                hidden=(),
                energy="total",
                solver="iterative",
                environment_hardness=True,
                scale=2.0,
                width_bounds=(0.2, 1.4),
                tolerance=1e-4,
                key=key,
            ),
            ChargeEquilibration,
        ),
        (lambda key: ChargeEmbedding(5, key=key), ChargeEmbedding),
        (
            lambda key: ChargeEmbedding(5, embedding_channels=3, key=key),
            ChargeEmbedding,
        ),
        (polarizable, lambda key, **a: POLARIZABLE.from_arguments(a, key=key)),
    ],
    ids=["defaults", "options", "embedding", "small embedding", "polarizable"],
)
def test_a_rebuilt_layer_has_the_same_architecture(make, rebuild):
    layer = make(jr.key(0))
    rebuilt = rebuild(**json.loads(json.dumps(layer.arguments())), key=jr.key(1))
    shapes = lambda layer: [(x.shape, x.dtype) for x in jax.tree.leaves(layer)]
    # The structure contains all static fields.
    assert jax.tree.structure(rebuilt) == jax.tree.structure(layer)
    assert shapes(rebuilt) == shapes(layer)
    assert rebuilt.arguments() == layer.arguments()
    pairs = zip(jax.tree.leaves(layer), jax.tree.leaves(rebuilt), strict=True)
    assert any(np.any(np.asarray(x) != np.asarray(y)) for x, y in pairs)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("celli", ChargeEquilibration), ("celli-polarizable", POLARIZABLE)],
)
def test_layers_are_found_by_their_entry_points(name, layer):
    (entry,) = entry_points(group="backbones.long_range", name=name)
    assert entry.load() is layer
