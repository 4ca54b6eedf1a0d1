"""A layer and a backbone of another package (`tests/plugin`), from training to use."""

import re
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import backbones as bb
import bench
import equinox as eqx
import jax
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from backbones.testing import BACKBONE_CHECKS, LAYER_CHECKS, LayerCase
from bench.evaluation.trained import load_trained_model, write_embeddings
from bench.experiment.grid import execute_runs, output_folder
from bench.experiment.runner import GridRunner
from bench.model.building import build_potential
from bench.model.checking import check_models, check_writable
from bench.settings.architectures import ModelSettings
from bench.settings.grid import Grid, Run
from bench.training.update import mask_updates
from chemsplit import DescriptorTable

RUN = "random-pair-network+les+mean-field-seed0"


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def potential(**settings):
    channels = settings.get("size", bb.backbone_class("pair-network").Size()).channels
    keys = jax.random.split(jax.random.key(1), 3)
    layers = {
        "embedding": bb.TotalCharge(channels, key=keys[0]),
        "final": bb.layer_class("mean-field")(channels, strength=0.5, key=keys[1]),
    }
    backbone = bb.backbone_class("pair-network")(
        (1, 6, 8),
        cutoff=4.0,
        avg_num_neighbors=10.0,
        long_range=layers,
        charges="final",
        key=keys[2],
        **settings,
    )
    return bb.Potential(backbone, {1: -1.0, 6: -2.0, 8: -3.0}, scale=0.7, shift=0.1)


@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=lambda check: check.__name__)
def test_the_backbone_passes_the_public_checks(check, double_precision):
    check(potential())


@pytest.mark.parametrize("check", LAYER_CHECKS, ids=lambda check: check.__name__)
def test_the_layer_passes_the_public_checks(check, double_precision):
    layer = bb.layer_class("mean-field")(4, key=jax.random.key(0))
    check(LayerCase(layer, 4))


def test_a_saved_model_is_rebuilt_from_its_file(tmp_path):
    path = tmp_path / "model.npz"
    saved = potential(size=bb.backbone_class("pair-network").Size(channels=5))
    bb.save(path, saved)
    back = bb.load(path)
    assert jax.tree.structure(back) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(saved), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)
    header = bb.read_header(path)
    assert header["backbone"]["distribution"] == "example-plugin"
    assert header["long_range"]["final"]["arguments"]["strength"] == 0.5


def test_names_are_checked_without_an_import():
    program = (
        "import sys; from bench.settings.grid import load_grid; "
        "load_grid('quick', ['backbones=[pair-network]', 'long_range=[mean-field]']); "
        "assert not {'jax', 'backbones', 'example_plugin'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(bench.exceptions.BenchError, match="did you mean 'mean-field'"):
        bench.load_grid("quick", ["long_range=[mean-fields]"])


def frames(count=10):
    rng = np.random.default_rng(0)
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    for i in range(count):
        atoms = ase.Atoms("OH2", water + 0.05 * rng.normal(size=(3, 3)))
        atoms.info["id"] = f"water/{i}"
        forces = rng.normal(size=(3, 3))
        atoms.calc = SinglePointCalculator(
            atoms, energy=rng.normal(), forces=forces - forces.mean(0)
        )
        yield atoms


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of `bench` with the backbone, the layer and one of this repository."""
    folder = tmp_path_factory.mktemp("own")
    ase.io.write(folder / "water.extxyz", list(frames()), format="extxyz")
    arguments = {"strength": 2}
    grid = Grid(
        dataset=str(folder / "water.extxyz"),
        splits=("random",),
        backbones=("pair-network",),
        long_range=("mean-field+les",),
        model={
            "backbones": {"pair-network": {"channels": 6}},
            "layers": {"mean-field": {"hook": "embedding", "arguments": arguments}},
        },
        train={"epochs": 2},
    )
    with output_folder(folder / "runs", grid):
        outcome = execute_runs(grid, folder / "runs", lambda *_: None)
    assert not outcome.failures, outcome.failures
    (run,) = (folder / "runs").glob("random-*")
    return folder, run


def test_it_is_trained_and_used_in_a_calculator(finished):
    _, run = finished
    calculator = bb.Calculator(run, total_charge=0.0)
    layers = calculator.potential.backbone.hooks.layers
    assert layers["embedding"].strength == 2 and set(layers) == {"embedding", "final"}
    assert calculator.potential.backbone.size.channels == 6
    water = ase.io.read(run / "predictions.extxyz", -1)
    written = water.calc.results
    water.calc = calculator
    np.testing.assert_allclose(water.get_forces(), written["forces"], atol=1e-4)
    assert bench.load_potential(run).atomic_energies == (
        calculator.potential.atomic_energies
    )


def test_it_is_frozen_as_named(finished):
    updates = eqx.filter(bench.load_potential(finished[1]), eqx.is_inexact_array)
    updates = jax.tree.map(lambda x: np.ones_like(x), updates)
    masked = mask_updates(updates, ("mean-field",)).backbone
    assert not np.any(masked.hooks.layers["embedding"].weight)
    assert np.all(masked.hooks.layers["final"].weight) and np.all(masked.radial)
    masked = mask_updates(updates, ("backbone",)).backbone
    assert np.all(masked.hooks.layers["embedding"].weight) and not np.any(masked.radial)


def test_it_is_embedded(finished, tmp_path):
    folder, run = finished
    path = tmp_path / "features.npz"
    count = write_embeddings(
        load_trained_model(run), str(folder / "water.extxyz"), path
    )
    rows = DescriptorTable.load(path).X.toarray()
    assert rows.shape == (count, 6) == (10, 6) and np.ptp(rows, axis=0).min() > 0


@pytest.fixture
def readme_package(tmp_path, monkeypatch):
    """The layer of the README of backbones, in a package with a broken module."""
    readme = Path(__file__).parents[1] / "packages/backbones/README.md"
    definition = re.search(
        r"^class Dispersion.*?(?=^with )", readme.read_text(), re.DOTALL | re.MULTILINE
    )
    assert definition is not None
    package = tmp_path / "dispersion_package"
    package.mkdir()
    imports = "import equinox as eqx\nimport jax\nimport jax.numpy as jnp\n"
    (package / "_layer.py").write_text(imports + definition[0])
    (package / "__init__.py").write_text("from ._layer import Dispersion\n")
    (package / "broken.py").write_text("raise RuntimeError('too\\nold')\n")
    metadata = tmp_path / "dispersion_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: dispersion\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[backbones.long_range]\na-broken-one = dispersion_package.broken:Dispersion\n"
        "dispersion = dispersion_package:Dispersion\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [m for m in sys.modules if m.startswith("dispersion_package")]:
        del sys.modules[name]


def built(long_range, **settings):
    return build_potential(
        ModelSettings(**settings),
        Run("x", "random", "pair-network", long_range, 0),
        {1: 0.0, 8: 0.0},
        avg_num_neighbors=4.0,
        scale=1.0,
    )


def test_the_layer_of_the_readme_is_built_and_saved(readme_package, tmp_path):
    """Another entry point of its package, of the same name, cannot be imported."""
    potential = built("dispersion")
    check_writable(potential)
    bb.save(tmp_path / "model.npz", potential)
    layer = bb.load(tmp_path / "model.npz").backbone.hooks.layers["final"]
    assert type(layer).__name__ == "Dispersion"
    header = bb.read_header(tmp_path / "model.npz")
    assert header["long_range"]["final"]["name"] == "dispersion"


def test_a_package_that_cannot_be_imported_is_named(readme_package):
    with pytest.raises(bench.exceptions.BenchError) as caught:
        built("a-broken-one")
    assert str(caught.value) == (
        "The long-range layer 'a-broken-one' of dispersion cannot be imported "
        "(RuntimeError: too old): report it to the author of dispersion, or uninstall "
        "it."
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"layers": {"mean-field": {"arguments": {"strenght": 2.0}}}},
            "model.layers.mean-field.arguments.strenght: there is no such argument: "
            "did you mean 'strength'? known are strength.",
        ),
        (
            {"layers": {"mean-field": {"arguments": {"strength": "much"}}}},
            "The layer 'mean-field' cannot be built with the arguments strength='much'"
            ": ValueError: could not convert string to float: 'much'",
        ),
        (
            {"layers": {"mean-field": {"hook": "block 1"}}},
            "model.layers.mean-field.hook: there is no hook 'block 1'; this backbone "
            "has embedding, final.",
        ),
        (
            {"backbones": {"pair-network": {"chanels": 4}}},
            "model.backbones.pair-network.chanels: there is no such argument: did you "
            "mean 'channels'? known are channels, num_radial, decay.",
        ),
    ],
)
def test_wrong_settings_are_named_before_data_are_read(model, message, tmp_path):
    grid = Grid(
        dataset=str(tmp_path / "nowhere"),
        splits=("random",),
        backbones=("pair-network",),
        long_range=("none", "mean-field+celli+efa+les"),
        model=model,
    )
    with pytest.raises(bench.exceptions.BenchError) as caught:
        GridRunner(grid, tmp_path)
    assert str(caught.value) == message


def test_valid_settings_pass_the_check_of_a_grid():
    layers = ("mean-field+celli+efa+les", "charge")
    backbones = ("pair-network", "mace")
    check_models(
        Grid(dataset="x", splits=("random",), backbones=backbones, long_range=layers)
    )


def test_a_layer_without_key_in_its_constructor_is_named(monkeypatch):
    kind = bb.layer_class("mean-field")
    monkeypatch.setattr(kind, "__init__", lambda self, channels: None)
    with pytest.raises(
        bench.exceptions.BenchError, match="no argument `key`; expected"
    ):
        built("mean-field")


def test_a_layer_that_cannot_be_rebuilt_fails_before_a_training(monkeypatch):
    potential = built("mean-field")
    monkeypatch.setattr(
        bb.layer_class("mean-field"), "arguments", lambda self: {"channels": 3}
    )
    message = "layer at 'final' cannot be written to a model file: the `arguments` of"
    with pytest.raises(bench.exceptions.BenchError, match=message):
        check_writable(potential)
