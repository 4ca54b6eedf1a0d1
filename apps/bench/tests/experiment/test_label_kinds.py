"""Training on one kind of labels only, such as charges without energies."""

import json

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.cli.main import app
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies, mean_charges
from bench.dataset.summary import describe
from bench.dynamics.study.models import open_model
from bench.evaluation.errors import Errors, errors_of
from bench.evaluation.predicting import Prediction
from bench.evaluation.trained import evaluate, load_trained_model
from bench.exceptions import BenchError
from bench.experiment.trainable import (
    predicted_kinds,
    trainable_settings,
)
from bench.labels import KINDS
from bench.settings.grid import Grid, Run
from bench.settings.training import LossSettings, TrainSettings
from typer.testing import CliRunner

FAST = ("model.mace.channels=4", "model.mace.l_max=1", "model.mace.radial_mlp=[8]")
FAST += (
    "train.epochs=1",
    "model.celli.hidden=[8]",
    "model.cutoff=4",
    "splits=[random]",
)


@pytest.fixture
def write(tmp_path, toy_structure):
    """Returns a function that writes structures with the given labels only."""

    def write_file(*labels, count=24):
        frames = [toy_structure(i) for i in range(count)]
        for atoms in frames:
            results = {label: atoms.calc.results[label] for label in labels}
            atoms.calc = SinglePointCalculator(atoms, **results)
        path = tmp_path / f"{'-'.join(labels)}.extxyz"
        ase.io.write(path, frames, format="extxyz")
        return path

    return write_file


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def run(data, out, layers):
    options = [x for o in (*FAST, f"dataset={data}", layers) for x in ("-o", o)]
    return call("run", "quick", "--out", out, *options)


def assert_no_missing_numbers(text):
    assert "nan" not in text.lower() and "None" not in text


def test_grid_with_charges_only(write, tmp_path):
    source, data, out = write("charges"), tmp_path / "data", tmp_path / "out"
    output = call("prepare", source, "--out", data, "--workers", 1)
    assert "labels           charges" in output and "element's mean charge" in output
    assert "composition fit" not in output and "zero force" not in output
    assert_no_missing_numbers(call("info", data))
    run(data, out, "long_range=[celli]")
    folder = out / "random-mace+celli-seed0"
    result = json.loads((folder / "result.json").read_text())
    assert result["kinds"] == ["charge", "dipole", "born"]
    compared = {k for k, v in result["errors"]["test"].items() if v is not None}
    assert compared == {"charge_mae", "charge_rmse"}
    # Recomputes the floor from the training set, the errors from the predictions.
    charged = load_for_training(str(source))
    samples = {s.id: s for s in charged.samples}
    split = json.loads((folder / "split.json").read_text())
    members = np.array([charged.ids.index(i) for i in split["train"]])
    means = mean_charges(charged, members)
    test = [samples[i] for i in split["test"]]
    residuals = [s.charges - [means[z] for z in s.structure.numbers] for s in test]
    floor = 1000 * np.abs(np.concatenate(residuals)).mean()
    np.testing.assert_allclose(result["floors"]["test"]["charge_mae"], floor, rtol=1e-5)
    assert {k for k, v in result["floors"]["test"].items() if v} == compared
    frames = [
        f
        for f in ase.io.read(folder / "predictions.extxyz", ":")
        if f.info["part"] == "test"
    ]
    differences = [
        f.arrays["model_charges"] - f.arrays["label_charges"] for f in frames
    ]
    error = 1000 * np.abs(np.concatenate(differences)).mean()
    np.testing.assert_allclose(result["errors"]["test"]["charge_mae"], error, rtol=1e-4)
    assert all(f.calc is None and "label_energy" not in f.info for f in frames)
    (row,) = [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert row["validation_energy_mae"] is row["validation_force_mae"] is None
    expected = 10 * 1e-6 * result["errors"]["validation"]["charge_rmse"] ** 2
    np.testing.assert_allclose(row["validation_loss"], expected, rtol=1e-5)
    text = (out / "report.md").read_text()
    assert "## Charges" in text and "| random | mace+celli | 0 |" in text
    assert "cost (µs/atom)" in text
    assert "## Energy" not in text and "## Forces" not in text
    assert_no_missing_numbers(text)
    page = (out / "report.html").read_text()
    assert 'id="cost"' in page and 'id="charges-random-mace+celli-seed0"' in page
    evaluation = evaluate(load_trained_model(folder), str(source), tmp_path / "again")
    assert {k for k, v in evaluation.errors.items() if v is not None} == compared
    with pytest.raises(BenchError, match="no forces for a simulation"):
        open_model(folder)


def test_grid_with_forces_only(write, tmp_path):
    source, out = write("forces"), tmp_path / "out"
    run(source, out, "long_range=[none]")
    folder = out / "random-mace-seed0"
    result = json.loads((folder / "result.json").read_text())
    assert result["kinds"] == ["force", "stress"]
    compared = {k for k, v in result["errors"]["test"].items() if v is not None}
    assert compared == {"force_mae", "force_rmse"}
    test = [
        f for f in load_for_training(str(source)).samples if f.id in result_ids(folder)
    ]
    floor = 1000 * np.abs(np.concatenate([s.forces for s in test])).mean()
    np.testing.assert_allclose(result["floors"]["test"]["force_mae"], floor, rtol=1e-5)
    text = (out / "report.md").read_text()
    assert "## Forces" in text and "## Energy" not in text and "cost (µs/atom)" in text
    assert_no_missing_numbers(text)
    # Energies are determined up to a constant, which suffices for dynamics.
    assert open_model(folder).potential.atomic_energies == (
        (1, 0.0),
        (6, 0.0),
        (8, 0.0),
    )
    # On data with energies, only the trained kinds are compared.
    both = write("energy", "forces")
    evaluation = evaluate(load_trained_model(folder), str(both), tmp_path / "again")
    assert {k for k, v in evaluation.errors.items() if v is not None} == compared


def result_ids(folder):
    return json.loads((folder / "split.json").read_text())["test"]


def test_structures_without_trainable_labels_are_errors(write, tmp_path, toy_structure):
    assert load_for_training(str(write("charges", count=3))).samples[0].energy is None
    mixed = tmp_path / "mixed.extxyz"
    frames = [toy_structure(i) for i in range(3)]
    frames[1].calc = None
    frames[0].calc.results.pop("energy"), frames[2].calc.results.pop("energy")
    ase.io.write(mixed, frames, format="extxyz")
    with pytest.raises(BenchError, match="'s001' has no label .* 1 of 3 structures"):
        load_for_training(str(mixed))


@pytest.mark.parametrize(
    ("layer", "labels", "kinds"),
    [
        ("celli", ["charge"], {"charge", "dipole", "born"}),
        ("none", ["force"], {"force", "stress"}),
        ("none", ["energy"], {"energy", "force", "stress"}),
        ("les", ["force", "charge"], {"force", "stress", "dipole", "born"}),
        ("celli", ["energy", "charge"], set(KINDS) - {"magnetic_moment"}),
    ],
)
def test_predicted_kinds_follow_from_trained_labels(layer, labels, kinds):
    run = Run("x", "random", "mace", layer, 0)
    settings = trainable_settings(TrainSettings(), run, labels, 1)
    assert set(predicted_kinds(run, settings, labels)) == kinds


@pytest.mark.parametrize(
    ("layer", "label", "settings", "message"),
    [
        ("none", "charge", {}, "mace cannot be trained .* have charges, .*celli"),
        ("les", "charge", {}, "mace.les cannot be trained"),
        ("celli", "dipole", {}, "have dipole, .* set train.loss.dipole=1"),
        ("none", "stress", {}, "set train.loss.stress=1"),
        ("none", "energy", {"frozen": ("backbone",)}, "freezes all of mace"),
        (
            "les",
            "energy",
            {"frozen": ("backbone", "les")},
            "freezes all of mace.l",
        ),
        ("celli", "charge", {"loss": {"energy": 5}}, "set train.loss.energy=0"),
    ],
)
def test_untrainable_settings_are_errors(layer, label, settings, message):
    run = Run("x", "random", "mace", layer, 0)
    with pytest.raises(BenchError, match=message):
        trainable_settings(TrainSettings(**settings), run, [label], 1)


def test_phases_with_frozen_model_are_omitted():
    phase = {"epochs": 2, "frozen": ["backbone"]}
    settings = TrainSettings(pretrain=[phase])
    adapted = lambda layer: trainable_settings(
        settings, Run("x", "random", "mace", layer, 0), ["energy"], 1
    )
    assert len(adapted("none").pretrain) == 0 and len(adapted("les").pretrain) == 1


def test_training_on_dipoles_only(write):
    run = Run("x", "random", "mace", "celli", 0)
    settings = TrainSettings(loss={"dipole": 1.0})
    adapted = trainable_settings(settings, run, ["dipole"], 1)
    assert {k for k, w in adapted.loss.weights.items() if w} == {"dipole"}


def test_missing_labels_and_non_finite_predictions_differ(write):
    data = load_for_training(str(write("charges", count=3)))
    first = data.samples[0]
    assert fit_atomic_energies(data) == {1: 0.0, 6: 0.0, 8: 0.0}
    prediction = Prediction({"charges": first.charges + 0.01})
    errors = errors_of([prediction], [first])
    assert np.isnan(errors["energy_mae"]) and errors.as_dict()["energy_mae"] is None
    np.testing.assert_allclose(errors.loss(LossSettings()), 10 * 0.01**2)
    diverged = errors_of([Prediction({"charges": first.charges * np.nan})], [first])
    assert diverged["charge_mae"] == np.inf == diverged.loss(LossSettings())
    assert np.isnan(Errors({"charge_rmse": 1.0}).loss(LossSettings(charge=0)))
    assert "NaN" not in describe(load_for_training(str(write("charges", count=3))))
    assert Grid(dataset="x").train.loss == LossSettings()
