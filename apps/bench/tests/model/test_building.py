import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies
from bench.experiment.train_and_test import batch_for_model
from bench.model.building import build_layers, build_potential, hook_widths
from bench.settings.architectures import CelliSettings, MACESettings, ModelSettings
from bench.settings.grid import LAYERS, Grid, Run
from bench.training.loop import mask_updates
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
"""Every layer has a hook in these too, and half as much is compiled."""


def build(backbone, long_range, elements=(1, 6, 8)):
    return build_potential(
        SMALL,
        Run("x", "random", backbone, long_range, 0),
        dict.fromkeys(elements, 0.0),
        avg_num_neighbors=4.0,
        scale=1.0,
    )


def layers(potential):
    found = {}
    for hook, layer in potential.backbone.hooks.layers.items():
        for one in getattr(layer, "layers", (layer,)):
            found.setdefault(type(one).__name__, []).append(hook)
    return found


def test_layers_stand_at_the_published_hooks():
    every = "+".join(LAYERS)
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
        potential = build(backbone, every)
        assert layers(potential) == shared | expected[backbone]
        hook = expected[backbone]["ChargeEquilibration"][0]
        assert potential.backbone.hooks.charges == hook


def test_layers_alone_are_what_they_say():
    for name, kind in {
        "celli": ChargeEquilibration,
        "efa": EuclideanFastAttention,
        "les": LatentEwald,
    }.items():
        assert set(layers(build("mace", name))) == {kind.__name__}
    assert layers(build("mace", "none")) == {}


def test_a_layer_starts_the_same_whatever_stands_beside_it():
    alone, together = build("mace", "les"), build("mace", "celli+les")
    a, b = (p.backbone.hooks.layers["final"].weight for p in (alone, together))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(alone.backbone.embedding, together.backbone.embedding)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_layer_is_trained_on_any_backbone(backbone, own_file, periodic_file):
    """One step's gradient reaches every leaf of every layer, open and periodic."""
    for path in (own_file, periodic_file):
        grid = Grid(dataset=str(path), model=SHALLOW, train={"batch": 2})
        data = load_for_training(grid.dataset)
        run = Run(grid.dataset, "random", backbone, "charge+celli+efa+les", 0)
        batched = batch_for_model(grid, run, data)
        potential = build_potential(
            SHALLOW,
            run,
            fit_atomic_energies(data.samples),
            avg_num_neighbors=4.0,
            scale=1.0,
        )
        arrays, rest = eqx.partition(potential, eqx.is_inexact_array)
        leaves, tree = jax.tree.flatten(arrays)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        moved = [
            x + 0.05 * jax.random.normal(k, x.shape)
            for x, k in zip(leaves, keys, strict=True)
        ]
        potential = eqx.combine(jax.tree.unflatten(tree, moved), rest)
        _, batch, _ = next(
            batched.batches(np.arange(2), dict(potential.atomic_energies))
        )

        @eqx.filter_jit
        @eqx.filter_grad
        def slope(potential, batch):
            out = potential(batch)
            return (out.forces**2).sum() + (out.energy**2).sum()

        for place, leaf in jax.tree.leaves_with_path(
            slope(potential, batch).backbone.hooks
        ):
            assert np.isfinite(leaf).all(), place
            assert np.any(leaf != 0), place


def run_of(backbone, long_range):
    return Run("own", "random", backbone, long_range, 0)


def test_published_widths_are_wider_than_any_bond():
    atoms = np.array([1, 6, 30])
    width = {}
    for kind in ("covalent", "published"):
        settings = ModelSettings(celli=CelliSettings(widths=kind))
        found, _ = build_layers(settings, run_of("mace", "celli"))
        width[kind] = np.asarray(found["block 1"].width(jnp.asarray(atoms)))
    np.testing.assert_allclose(width["published"], 7.0, rtol=1e-5)
    np.testing.assert_allclose(width["covalent"], COVALENT_RADII[atoms], rtol=1e-5)


def test_dipoles_join_the_charges_if_asked_for():
    settings = ModelSettings(celli=CelliSettings(polarizable=True, widths="published"))
    found, charges = build_layers(settings, run_of("mace", "celli+les"))
    layer = found[charges]
    assert isinstance(layer, PolarizableChargeEquilibration)
    width = layer.equilibration.width(jnp.array([1, 6]))
    np.testing.assert_allclose(width, 7.0, rtol=1e-5)


def test_nuclei_repel_if_asked_to():
    for zbl in (False, True):
        potential = build_potential(
            ModelSettings(zbl=zbl),
            run_of("mace", "none"),
            {1: 0.0, 8: 0.0},
            avg_num_neighbors=10.0,
            scale=1.0,
        )
        assert potential.zbl == zbl


def test_more_message_passing_is_the_same_mace_with_four_interactions():
    settings = ModelSettings()
    blocks = lambda backbone: [
        hook
        for hook in hook_widths(settings, run_of(backbone, "none"))
        if hook.startswith("block")
    ]
    assert blocks("mace") == ["block 1"]
    assert blocks("mp4") == ["block 1", "block 2", "block 3"]
    found, _ = build_layers(settings, run_of("mp4", "efa"))
    assert list(found) == blocks("mp4")


def test_layers_are_frozen_by_name():
    """Of a change of ones, what is left is the trained part."""
    settings = ModelSettings(mace=MACESettings(channels=4, l_max=1, radial_mlp=(8,)))
    potential = build_potential(
        settings,
        run_of("mace", "celli+les"),
        {1: 0.0, 8: 0.0},
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    ones = jax.tree.map(jnp.ones_like, eqx.filter(potential, eqx.is_inexact_array))
    left = mask_updates(ones, ("les",)).backbone
    of = lambda tree: {float(x.max()) for x in jax.tree.leaves(tree)}
    assert of(left.hooks.layers["final"]) == {0.0}
    assert of(left.hooks.layers["block 1"]) == of(left.interactions) == {1.0}
    assert of(mask_updates(ones, ("long_range",)).backbone.hooks) == {0.0}
