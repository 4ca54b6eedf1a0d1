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
    *LOCAL_CHECKS,
)


@named("check", BARE)
def test_bare_backbones(check, kind, model):
    check(model(kind))


def test_allegro_without_a_layer_at_the_embedding_learns(model):
    """Its first features have another network then; the rest is the same."""
    testing.check_every_leaf_learns(model(bb.Allegro))


@named("check", BACKBONE_CHECKS)
def test_backbones_with_a_layer_at_every_hook(check, kind, with_layer_everywhere):
    check(with_layer_everywhere(kind))


def layer_case(name, Spread):
    weight = 0.3 * jr.normal(jr.key(1), (4,))
    told = bb.TotalCharge(4, spins=3, key=jr.key(0))
    return {
        "open": LayerCase(Spread(weight), 4, periodic=False),
        "periodic": LayerCase(Spread(weight), 4),
        "degree 1": LayerCase(Spread(weight, 1), 4),
        "sum": LayerCase(bb.Sum((told, bb.NoLongRange())), 4, periodic=False),
    }[name]


@named("check", LAYER_CHECKS)
@pytest.mark.parametrize("name", ["open", "periodic", "degree 1", "sum"])
def test_layers(check, name, Spread):
    check(layer_case(name, Spread))


def test_no_long_range_at_every_hook_is_the_bare_backbone(kind, model, energies_of):
    bare = model(kind)
    hooks = dict.fromkeys(bare.backbone.size.widths, bb.NoLongRange())
    still = model(kind, long_range=hooks, charges="final")
    s = sample_structure(bare, 1)
    np.testing.assert_array_equal(energies_of(bare, s), energies_of(still, s))
    assert not still.backbone.has_charges
    assert bb.parameter_count(bare) == bb.parameter_count(still)
