"""Evaluation of a trained model, its features, and commands for single runs."""

import json

import ase.io
import equinox as eqx
import numpy as np
import pytest
import yaml
from bench import load_potential
from bench.cli.main import app
from bench.dataset.opening import load_for_training
from bench.evaluation.embeddings import mean_features, with_feature_probe
from bench.evaluation.predicting import batch_for_prediction
from bench.evaluation.trained import (
    evaluate,
    load_trained_model,
    write_embeddings,
)
from bench.experiment.grid import execute_runs, output_folder
from bench.model.building import build_potential
from bench.settings.grid import Grid, Run, load_grid
from chemsplit import DescriptorTable, SeedSimilaritySplit, Split, make_split
from sklearn.metrics import (
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from typer.testing import CliRunner

RUN = "named-mace+les-seed0"


@pytest.fixture(scope="module")
def grid(tmp_path_factory, toy_structure, grid_of):
    """Twelve molecules with dipoles and Born charges; four of them are the test set."""
    path = tmp_path_factory.mktemp("data") / "own.extxyz"
    frames = [toy_structure(i) for i in range(12)]
    for i, frame in enumerate(frames):
        frame.info["id"] = f"{'test' if i < 4 else 'train'}/{i}"
        charges = frame.calc.results["charges"]
        relative = frame.positions - frame.get_center_of_mass()
        frame.calc.results["dipole"] = charges @ relative
        tensors = charges[:, None, None] * np.eye(3)
        frame.arrays["born_charges"] = tensors.reshape(-1, 9)
    ase.io.write(path, frames, format="extxyz")
    changes = {
        "splits": ("named",),
        "long_range": ("les",),
        "split": {"test_ids": "test/*", "validation_fraction": 0.25},
    }
    return Grid(**(grid_of(path).model_dump() | changes))


@pytest.fixture(scope="module")
def finished(grid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with output_folder(folder, grid):
        outcome = execute_runs(grid, folder, lambda *_: None)
    assert not outcome.failures, outcome.failures
    return folder / RUN


def test_errors_equal_those_of_scikit_learn(finished):
    """Computed from the file of predictions."""
    frames = ase.io.read(finished / "predictions.extxyz", ":")
    test = [f for f in frames if f.info["part"] == "test"]
    assert len(test) == 4 and {f.info["id"].split("/")[0] for f in test} == {"test"}
    result = json.loads((finished / "result.json").read_text())
    errors = result["errors"]["test"]
    array = lambda name: np.concatenate([f.arrays[name].ravel() for f in test])
    info = lambda name: np.concatenate([np.ravel(f.info[name]) for f in test])
    pairs = {
        "energy": (
            info("label_energy") / [len(f) for f in test],
            np.array([f.get_potential_energy() / len(f) for f in test]),
        ),
        "force": (
            array("label_forces"),
            np.concatenate([f.get_forces().ravel() for f in test]),
        ),
        "dipole": (info("label_dipole"), info("model_dipole")),
        "born": (array("label_born"), array("model_born")),
    }
    for kind, (label, prediction) in pairs.items():
        # Extended XYZ stores eight digits.
        tolerance = dict(rtol=1e-4, atol=1e-3)
        for name, metric in (
            ("mae", mean_absolute_error),
            ("rmse", root_mean_squared_error),
        ):
            expected = 1000 * metric(label, prediction)
            np.testing.assert_allclose(errors[f"{kind}_{name}"], expected, **tolerance)
        if kind in ("dipole", "born"):
            r2 = r2_score(label, prediction)
            np.testing.assert_allclose(errors[f"{kind}_r2"], r2, rtol=1e-4)
    assert errors["charge_mae"] is None  # latent charges are not compared with labels
    # The sign of latent charges agrees with the dipoles of the validation set.
    validation = [f for f in frames if f.info["part"] == "validation"]
    overlap = sum(
        np.vdot(f.info["model_dipole"], f.info["label_dipole"]) for f in validation
    )
    overlap += sum(
        np.vdot(f.arrays["model_born"], f.arrays["label_born"]) for f in validation
    )
    assert overlap > 0 and result["charge_sign"] in (-1, 1)


def test_the_tested_model_is_that_of_the_best_epoch(finished):
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    best = min(rows, key=lambda row: row["validation_loss"])
    errors = json.loads((finished / "result.json").read_text())["errors"]["validation"]
    for kind in ("energy", "force"):
        expected = best[f"validation_{kind}_mae"]
        np.testing.assert_allclose(errors[f"{kind}_mae"], expected, rtol=1e-5)


def test_evaluation_reproduces_the_test_errors(finished, grid, tmp_path):
    """On the four test structures and one with an unsupported element."""
    frames = ase.io.read(grid.dataset, ":4")
    unsupported = frames[0].copy()
    unsupported.numbers[0], unsupported.info = 30, {"id": "zinc"}
    path = tmp_path / "some.extxyz"
    ase.io.write(path, [*frames, unsupported], format="extxyz")
    evaluation = evaluate(load_trained_model(finished), str(path), tmp_path / "again")
    assert (evaluation.structures, evaluation.left_out) == (4, {"Zn": 1})
    errors = json.loads((finished / "result.json").read_text())["errors"]["test"]
    for name, test_error in errors.items():
        expected = np.nan if test_error is None else test_error
        value = evaluation.errors[name]
        # Other batches sum in another order in single precision.
        np.testing.assert_allclose(
            np.nan if value is None else value, expected, rtol=1e-3, atol=0.05
        )
    stored = json.loads((tmp_path / "again" / "evaluation.json").read_text())
    assert stored["model"] == RUN and stored["errors"] == evaluation.errors


def test_features_are_means_over_atoms_and_usable_by_chemsplit(finished, tmp_path):
    trained = load_trained_model(finished)
    source = yaml.safe_load((finished.parent / "config.yaml").read_text())["dataset"]
    path = tmp_path / "features.npz"
    assert write_embeddings(trained, source, path) == 12
    table = DescriptorTable.load(path)
    width = 2 * load_grid(str(finished.parent / "config.yaml")).model.mace.channels
    assert table.X.shape == (12, width) and table.settings["model"] == RUN
    split = make_split(
        SeedSimilaritySplit(1, test_size=0.25), table.X, table.ids, table.groups,
        seed=0, name="learned",
    )  # fmt: skip
    # Groups of two are not divided.
    assert len(split.indices(list(table.ids))[2]) in (2, 4)
    # The layer's energy is its weights times the features, summed over the atoms.
    probed = with_feature_probe(load_potential(finished))
    rng = np.random.default_rng(0)
    values = rng.normal(size=width).astype(np.float32)
    layer = probed.backbone.hooks.layers["final"]
    weights = lambda p: p.backbone.hooks.layers["final"].layers[-1].weights
    weighted = eqx.tree_at(weights, probed, values)
    assert len(layer.layers) == 2
    batched = batch_for_prediction(probed, load_for_training(source))
    ((indices, batch), *_) = batched.batches(np.arange(12))
    energies = eqx.filter_jit(lambda potential, batch: potential.energies(batch)[0])
    sums = np.asarray(energies(weighted, batch) - energies(probed, batch)).sum(1)
    means = mean_features(probed, batched, indices)
    num_atoms = np.array([len(batched.data.samples[i].structure) for i in indices])
    n = len(indices)
    np.testing.assert_allclose(
        sums[:n], num_atoms * (means @ values), rtol=1e-3, atol=1e-4
    )
    order = [list(table.ids).index(batched.data.ids[i]) for i in indices]
    np.testing.assert_allclose(table.X.toarray()[order], means, rtol=1e-3, atol=1e-5)


def test_commands_for_single_runs(finished, grid, tmp_path, monkeypatch):
    config = str(finished.parent / "config.yaml")
    call = lambda *words: CliRunner().invoke(app, list(map(str, words)))
    done = call("split", config, "--out", tmp_path / "splits")
    assert done.exit_code == 0, done.output
    saved = Split.load(tmp_path / "splits" / "named-seed0.json")
    assert saved.digest == Split.load(finished / "split.json").digest
    out = tmp_path / "again"
    done = call("eval", finished, "--out", out, "--embeddings", tmp_path / "f.npz")
    assert done.exit_code == 0, done.output
    assert "energy_mae" in done.output and "12 structures" in done.output
    # The run is finished, so training it again changes nothing.
    before = (finished / "result.json").read_text()
    done = call("train", config, RUN, "--out", finished.parent)
    assert done.exit_code == 0, done.output
    assert (finished / "result.json").read_text() == before
    wrong = call("train", config, "random-mace", "--out", finished.parent)
    assert wrong.exit_code == 1 and f"it has {RUN}" in str(wrong.exception)


@pytest.mark.parametrize("backbone", ["allegro", "dimenet"])
def test_features_on_edges_are_summed_without_a_layer(backbone, grid):
    """Without an adapter at the last hook, features are those of all blocks."""
    settings = grid.model.model_copy(
        update={
            "allegro": grid.model.allegro.model_copy(update={"hidden": 8}),
            "dimenet": grid.model.dimenet.model_copy(update={"channels": 8}),
        }
    )
    data = load_for_training(grid.dataset)
    elements = {int(z): 0.0 for s in data.samples for z in s.structure.numbers}
    potential = build_potential(
        settings,
        Run(grid.dataset, "random", backbone, "none", 0),
        elements,
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    probed = with_feature_probe(potential)
    batched = batch_for_prediction(probed, data)
    rows = mean_features(probed, batched, np.arange(3))
    blocks = {"allegro": 2, "dimenet": 3}[backbone]
    assert rows.shape == (3, 8 * blocks)
    assert np.isfinite(rows).all() and np.abs(rows).max(axis=1).min() > 0
