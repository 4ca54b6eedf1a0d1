"""Potentials of runs: layers, hooks, initial weights and gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backbones import save
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies
from bench.exceptions import BenchError
from bench.experiment.train_and_test import batch_for_model
from bench.model.building import build_layers, build_potential, hook_widths
from bench.model.saved import load_potential
from bench.settings.architectures import CelliSettings, ModelSettings
from bench.settings.grid import Grid, Run
from bench.settings.installed import LAYERS
from lr_celli import (
    COVALENT_RADII,
    ChargeEquilibration,
    PolarizableChargeEquilibration,
)
from lr_efa import EuclideanFastAttention
from lr_les import LatentEwald

BACKBONES = "mace", "allegro", "dimenet"
SMALL = ModelSettings(
    cutoff=4.0,
    mace={"channels": 4, "l_max": 1, "radial_mlp": [8], "num_interactions": 3},
    allegro={"channels": 4, "l_max": 1, "hidden": 8, "embedding": 4, "num_layers": 3},
    dimenet={"channels": 8, "int_emb_size": 4, "out_emb_channels": 8, "num_blocks": 3},
    celli={"hidden": [8]},
    efa={"qk_size": 4, "v_size": 4, "omega_max": 0.5},
)

SHALLOW = SMALL.model_copy(
    update={
        "mace": SMALL.mace.model_copy(
            update={"num_interactions": 2, "hidden_degree": 0}
        ),
        "allegro": SMALL.allegro.model_copy(update={"num_layers": 2}),
        "dimenet": SMALL.dimenet.model_copy(update={"num_blocks": 2}),
    }
)
"""Each layer has a hook in these too; they compile in half the time."""


def build(backbone, long_range, elements=(1, 6, 8)):
    return build_potential(
        SMALL,
        Run("x", "random", backbone, long_range, 0),
        dict.fromkeys(elements, 0.0),
        avg_num_neighbors=4.0,
        scale=1.0,
    )


def hooks_by_layer(potential):
    hooks = {}
    for hook, layer in potential.backbone.hooks.layers.items():
        for member in getattr(layer, "layers", (layer,)):
            hooks.setdefault(type(member).__name__, []).append(hook)
    return hooks


def test_layers_are_at_the_published_hooks():
    all_layers = "+".join(LAYERS)
    blocks = ["block 1", "block 2"]
    shared = {"TotalCharge": ["embedding"], "LatentEwald": ["final"]}
    expected = {
        "mace": {"ChargeEquilibration": blocks[:1], "EuclideanFastAttention": blocks},
        "allegro": {
            "ChargeEquilibration": blocks[1:],
            "EuclideanFastAttention": ["embedding"],
        },
        "dimenet": {
            "ChargeEquilibration": blocks[1:],
            "EuclideanFastAttention": ["embedding"],
        },
    }
    for backbone in BACKBONES:
        potential = build(backbone, all_layers)
        assert hooks_by_layer(potential) == shared | expected[backbone]
        hook = expected[backbone]["ChargeEquilibration"][0]
        assert potential.backbone.hooks.charges == hook


def test_single_layers_have_the_expected_class():
    for name, kind in {
        "celli": ChargeEquilibration,
        "efa": EuclideanFastAttention,
        "les": LatentEwald,
    }.items():
        assert set(hooks_by_layer(build("mace", name))) == {kind.__name__}
    assert hooks_by_layer(build("mace", "none")) == {}


def test_initial_weights_do_not_depend_on_other_layers():
    single, combined = build("mace", "les"), build("mace", "celli+les")
    a, b = (p.backbone.hooks.layers["final"].weight for p in (single, combined))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        single.backbone.embedding, combined.backbone.embedding
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_weight_of_every_layer_has_a_gradient(
    backbone, structure_file, periodic_file
):
    """With open and with periodic boundaries, after a random change of all weights."""
    for file in (structure_file, periodic_file):
        grid = Grid(dataset=str(file), model=SHALLOW, train={"batch_size": 2})
        data = load_for_training(grid.dataset)
        run = Run(grid.dataset, "random", backbone, "charge+celli+efa+les", 0)
        batched = batch_for_model(grid, run, data)
        potential = build_potential(
            SHALLOW,
            run,
            fit_atomic_energies(data),
            avg_num_neighbors=4.0,
            scale=1.0,
        )
        arrays, rest = eqx.partition(potential, eqx.is_inexact_array)
        leaves, tree = jax.tree.flatten(arrays)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        perturbed = [
            x + 0.05 * jax.random.normal(k, x.shape)
            for x, k in zip(leaves, keys, strict=True)
        ]
        potential = eqx.combine(jax.tree.unflatten(tree, perturbed), rest)
        _, batch = next(batched.batches(np.arange(2)))

        @eqx.filter_jit
        @eqx.filter_grad
        def gradient(potential, batch):
            out = potential(batch)
            return (out.forces**2).sum() + (out.energy**2).sum()

        for path, leaf in jax.tree.leaves_with_path(
            gradient(potential, batch).backbone.hooks
        ):
            assert np.isfinite(leaf).all(), path
            assert np.any(leaf != 0), path


def run_of(backbone, long_range):
    return Run("own", "random", backbone, long_range, 0)


def test_published_widths_exceed_bond_lengths():
    atoms = np.array([1, 6, 30])
    width = {}
    for kind in ("covalent", "published"):
        settings = ModelSettings(celli=CelliSettings(widths=kind))
        layers, _ = build_layers(settings, run_of("mace", "celli"))
        width[kind] = np.asarray(layers["block 1"].width(jnp.asarray(atoms)))
    np.testing.assert_allclose(width["published"], 7.0, rtol=1e-5)
    np.testing.assert_allclose(width["covalent"], COVALENT_RADII[atoms], rtol=1e-5)


def test_the_polarizable_setting_adds_dipoles():
    settings = ModelSettings(celli=CelliSettings(polarizable=True, widths="published"))
    layers, hook = build_layers(settings, run_of("mace", "celli+les"))
    layer = layers[hook]
    assert isinstance(layer, PolarizableChargeEquilibration)
    width = layer.equilibration.width(jnp.array([1, 6]))
    np.testing.assert_allclose(width, 7.0, rtol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("polarizable", [False, True])
def test_a_model_is_rebuilt_from_its_file_alone(backbone, polarizable, tmp_path):
    celli = SMALL.celli.model_copy(
        update={"polarizable": polarizable, "widths": "published"}
    )
    settings = SMALL.model_copy(update={"celli": celli})
    build = lambda: build_potential(
        settings,
        run_of(backbone, "charge+celli+efa+les"),
        {1: 0.0, 8: 0.0},
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    shapes = eqx.filter_eval_shape(build)
    rng = np.random.default_rng(0)
    random = lambda x: jnp.asarray(rng.uniform(0.5, 1.0, x.shape), x.dtype)
    potential = jax.tree.map(lambda x: random(x) if hasattr(x, "dtype") else x, shapes)
    save(tmp_path / "model.npz", potential)
    back = load_potential(tmp_path)
    assert jax.tree.structure(back) == jax.tree.structure(potential)
    for a, b in zip(jax.tree.leaves(potential), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)


def test_paths_that_are_no_potential_raise(tmp_path):
    structures = tmp_path / "water.xyz"
    structures.write_text("0\n\n")
    for path, message in (
        (
            "mace-large",
            "no file or folder mace-large, and this release of bench has no",
        ),
        (tmp_path, "not the folder of a finished run"),
        (structures, "is no model"),
    ):
        with pytest.raises(BenchError, match=message):
            load_potential(path)


def test_the_zbl_setting_adds_nuclear_repulsion():
    for zbl in (False, True):
        potential = build_potential(
            ModelSettings(zbl=zbl),
            run_of("mace", "none"),
            {1: 0.0, 8: 0.0},
            avg_num_neighbors=10.0,
            scale=1.0,
        )
        assert potential.zbl == zbl


def test_mp4_is_mace_with_four_interactions():
    settings = ModelSettings()
    blocks = lambda backbone: [
        hook
        for hook in hook_widths(settings, run_of(backbone, "none"))
        if hook.startswith("block")
    ]
    assert blocks("mace") == ["block 1"]
    assert blocks("mp4") == ["block 1", "block 2", "block 3"]
    layers, _ = build_layers(settings, run_of("mp4", "efa"))
    assert list(layers) == blocks("mp4")
