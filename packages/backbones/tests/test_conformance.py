"""The public checks of `backbones.testing` on all backbones of this package."""

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


# The other checks run with layers only, to save compilations.
WITHOUT_LAYERS = (
    testing.check_supercells,
    testing.check_cutoff_is_smooth,
    *LOCAL_CHECKS,
)


@named("check", WITHOUT_LAYERS)
def test_backbones_without_layers(check, kind, model):
    check(model(kind))


def test_allegro_without_a_layer_at_the_embedding_has_gradients(model):
    """Without it there is no network of both species."""
    testing.check_parameter_gradients(model(bb.Allegro))


@named("check", BACKBONE_CHECKS)
def test_backbones_with_a_layer_at_every_hook(check, kind, with_layer_at_every_hook):
    check(with_layer_at_every_hook(kind))


def layer_case(name, GaussianSum):
    weight = 0.3 * jr.normal(jr.key(1), (4,))
    charge = bb.TotalCharge(4, spins=3, key=jr.key(0))
    return {
        "open": LayerCase(GaussianSum(weight), 4, periodic=False),
        "periodic": LayerCase(GaussianSum(weight), 4),
        "degree 1": LayerCase(GaussianSum(weight, 1), 4),
        "sum": LayerCase(bb.Sum((charge, bb.NoLongRange())), 4, periodic=False),
    }[name]


@named("check", LAYER_CHECKS)
@pytest.mark.parametrize("name", ["open", "periodic", "degree 1", "sum"])
def test_layers(check, name, GaussianSum):
    check(layer_case(name, GaussianSum))


def test_no_long_range_at_every_hook_changes_nothing(kind, model, energies_of):
    without = model(kind)
    hooks = dict.fromkeys(without.backbone.size.widths, bb.NoLongRange())
    identity = model(kind, long_range=hooks, charges="final")
    s = sample_structure(without, 1)
    np.testing.assert_array_equal(energies_of(without, s), energies_of(identity, s))
    assert not identity.backbone.has_charges
    assert bb.parameter_count(without) == bb.parameter_count(identity)
