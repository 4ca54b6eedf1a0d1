"""Frozen parts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench.model.building import build_potential
from bench.settings.architectures import ModelSettings
from bench.settings.grid import Run
from bench.training.update import mask_updates

SMALL = ModelSettings(
    mace={"channels": 4, "l_max": 1, "radial_mlp": [8]},
    allegro={"channels": 4, "l_max": 1, "hidden": 8, "embedding": 4},
    dimenet={"channels": 8, "int_emb_size": 4, "out_emb_channels": 8},
    celli={"hidden": [8]},
    efa={"qk_size": 4, "v_size": 4},
)
ADAPTERS = {
    "allegro": (".edge_adapters", ".edge_mixing", ".species_weights"),
    "dimenet": (".edge_adapters",),
    "mace": (),
}


def ones(backbone, long_range):
    """A potential whose weights are one, as the updates of its weights."""
    build = lambda: build_potential(
        SMALL,
        Run("own", "random", backbone, long_range, 0),
        {1: 0.0, 8: 0.0},
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    weights = eqx.filter(eqx.filter_eval_shape(build), is_float)
    return jax.tree.map(lambda x: jnp.ones(x.shape), weights)


def is_float(leaf):
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def trained(updates, frozen):
    """Names of the weights that are updated, relative to the backbone."""
    masked = mask_updates(updates, frozen)
    names = {}
    for path, leaf in jax.tree.leaves_with_path(masked):
        name = jax.tree_util.keystr(path).removeprefix(".backbone")
        assert np.all(leaf == leaf.ravel()[0])
        names[name] = bool(leaf.ravel()[0])
    return {n for n, is_trained in names.items() if is_trained}, set(names)


@pytest.mark.parametrize("backbone", ADAPTERS)
@pytest.mark.parametrize("layer", ["charge", "celli", "efa", "les"])
def test_parts_are_frozen_as_named(backbone, layer):
    """All leaves: those of the layer and of the networks at its hook, or the others."""
    updates = ones(backbone, layer)
    all_names = trained(updates, ())[1]
    of_layer = {n for n in all_names if n.startswith((".hooks", *ADAPTERS[backbone]))}
    assert of_layer and of_layer != all_names
    at_atoms = backbone == "mace" or (
        backbone == "dimenet" and layer in ("charge", "efa")
    )
    assert any(not n.startswith(".hooks") for n in of_layer) != at_atoms
    assert trained(updates, ())[0] == all_names
    assert trained(updates, ("backbone",))[0] == of_layer
    for name in ("long_range", layer):
        assert trained(updates, (name,))[0] == all_names - of_layer
    other = "les" if layer != "les" else "celli"
    assert trained(updates, (other,))[0] == all_names
    assert not trained(updates, ("backbone", layer))[0]


def test_polarizable_layers_are_frozen_as_celli():
    polarizable = SMALL.celli.model_copy(update={"polarizable": True})
    settings = SMALL.model_copy(update={"celli": polarizable})
    run = Run("own", "random", "mace", "celli", 0)
    potential = build_potential(
        settings, run, {1: 0.0, 8: 0.0}, avg_num_neighbors=4.0, scale=1.0
    )
    updates = eqx.filter(potential, eqx.is_inexact_array)
    hooks = mask_updates(updates, ("celli",)).backbone.hooks
    assert all(not np.any(x) for x in jax.tree.leaves(hooks))


def test_networks_at_a_hook_are_frozen_with_the_last_of_its_layers():
    """The hook `embedding` of Allegro, and two layers there."""
    updates = ones("allegro", "charge+efa")
    all_names = trained(updates, ())[1]
    one, both = (trained(updates, parts)[0] for parts in (("efa",), ("efa", "charge")))
    network = {n for n in all_names if n.startswith(".species_weights")}
    assert network and network <= one and not network & both
    assert all(".layers[0]" in n for n in one if n.startswith(".hooks"))


def test_layers_are_frozen_by_name():
    """Masked updates are zero in frozen parts and unchanged elsewhere."""
    masked = mask_updates(ones("mace", "celli+les"), ("les",)).backbone
    values = lambda tree: {float(x.max()) for x in jax.tree.leaves(tree)}
    assert values(masked.hooks.layers["final"]) == {0.0}
    assert (
        values(masked.hooks.layers["block 1"]) == values(masked.interactions) == {1.0}
    )
