"""Every backbone with every kind of long-range layer passes the public checks."""

import functools

import backbones as bb
import jax.random as jr
import numpy as np
import pytest
from backbones import testing
from backbones.testing import (
    BACKBONE_CHECKS,
    LAYER_CHECKS,
    LOCAL_CHECKS,
    LayerCase,
    sample_structure,
)

named = functools.partial(pytest.mark.parametrize, ids=lambda check: check.__name__)


# The rest holds a fortiori where it holds with layers; each check costs compilations.
BARE = (
    testing.check_repeated_cells,
    testing.check_cutoff_is_smooth,
    testing.check_every_leaf_learns,
    *LOCAL_CHECKS,
)


@named("check", BARE)
def test_bare_backbones(check, kind, model):
    check(model(kind))


@named("check", BACKBONE_CHECKS)
def test_backbones_with_a_layer_at_every_hook(check, kind, with_layer_everywhere):
    check(with_layer_everywhere(kind))


def layer_cases(Spread):
    return {
        "spread": (Spread(0.3 * jr.normal(jr.key(1), (4,))), 4),
        "spread of degree 1": (Spread(0.3 * jr.normal(jr.key(1), (4,)), 1), 4),
        "total charge": (bb.TotalCharge(4, spins=3, key=jr.key(0)), 4),
        "sum": (
            bb.Sum((bb.TotalCharge(4, key=jr.key(0)), bb.NoLongRange())),
            4,
        ),
    }


@named("check", LAYER_CHECKS)
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(
    "name", ["spread", "spread of degree 1", "total charge", "sum"]
)
def test_layers(check, name, periodic, Spread):
    layer, channels = layer_cases(Spread)[name]
    check(LayerCase(layer, channels, periodic=periodic))


def test_no_long_range_at_every_hook_is_the_bare_backbone(kind, model):
    bare = model(kind)
    hooks = dict.fromkeys(bare.backbone.size.widths, bb.NoLongRange())
    still = model(kind, long_range=hooks, charges="final")
    s = sample_structure(bare, 1)
    a, b = testing.predict(bare, s), testing.predict(still, s)
    np.testing.assert_array_equal(a.energies, b.energies)
    np.testing.assert_array_equal(a.forces, b.forces)
    assert not still.backbone.has_charges
    assert bb.parameter_count(bare) == bb.parameter_count(still)
