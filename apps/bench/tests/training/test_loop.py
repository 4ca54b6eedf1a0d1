"""The training loop: convergence, resumption, early stopping and divergence."""

import json

import jax
import numpy as np
import pytest
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies
from bench.evaluation.errors import floor_of
from bench.exceptions import BenchError
from bench.experiment.train_and_test import batch_for_model
from bench.labels import KINDS
from bench.model.building import build_potential
from bench.settings.architectures import MACESettings, ModelSettings
from bench.settings.training import LossSettings
from bench.training.loop import SplitIndices, train, validate

LATENT_KINDS = [kind for kind in KINDS if kind != "charge"]
IGNORE = lambda row: None


def setup(grid, long_range="none"):
    data = load_for_training(grid.dataset)
    run = next(r for r in grid.runs() if r.long_range == long_range)
    batched = batch_for_model(grid, run, data)
    potential = build_potential(
        grid.model,
        run,
        fit_atomic_energies(data),
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    return batched, potential


def test_a_frozen_part_keeps_its_weights(small_grid, tmp_path):
    batched, potential = setup(small_grid, "les")
    parts = SplitIndices(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    for frozen in ("long_range", "backbone"):
        settings = small_grid.train.model_copy(
            update={"epochs": 1, "frozen": (frozen,)}
        )
        folder = tmp_path / frozen
        folder.mkdir()
        best = train(potential, batched, parts, settings, folder, 0, IGNORE)
        changed = {
            "long_range": np.any(les_layer(best).weight != les_layer(potential).weight),
            "backbone": np.any(best.backbone.embedding != potential.backbone.embedding),
        }
        assert changed == {name: name != frozen for name in changed}


def les_layer(potential):
    return potential.backbone.hooks.layers["final"]


def test_early_stopping_by_patience(small_grid, tmp_path):
    batched, potential = setup(small_grid)
    parts = SplitIndices(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    settings = small_grid.train.model_copy(
        update={
            "epochs": 9,
            "patience": 2,
            "frozen": ("backbone",),  # the whole model
        }
    )
    rows = []
    train(potential, batched, parts, settings, tmp_path, 0, rows.append)
    # The weights do not change, so the first epoch remains the best.
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    train(potential, batched, parts, settings, tmp_path, 0, rows.append)
    assert len(rows) == 3


def test_a_model_overfits_a_few_structures(small_grid, tmp_path):
    settings = small_grid.train.model_copy(
        update={"epochs": 250, "batch_size": 8, "ema_decay": 0.9, "learning_rate": 0.02}
    )
    grid = small_grid.model_copy(
        update={
            "train": settings,
            "model": ModelSettings(
                cutoff=4.0, mace=MACESettings(channels=8, radial_mlp=(16, 16))
            ),
        }
    )
    batched, potential = setup(grid)
    eight = np.arange(8)
    floor = floor_of(batched.data.samples[:8], dict(potential.atomic_energies), {})
    parts = SplitIndices(eight, eight, eight)
    best = train(potential, batched, parts, settings, tmp_path, 0, IGNORE)
    errors = validate(best, batched, eight, LATENT_KINDS)
    assert errors["force_mae"] < 0.03 * floor["force_mae"]
    assert errors["energy_mae"] < 1.0


@pytest.mark.slow
def test_a_larger_model_overfits_to_high_accuracy(small_grid, tmp_path):
    """0.1 meV/atom and 1 meV/Å after more epochs."""
    settings = small_grid.train.model_copy(
        update={"epochs": 2500, "batch_size": 8, "ema_decay": 0.98, "weight_decay": 0.0}
    )
    mace = MACESettings(channels=16, correlation=3, radial_mlp=(32, 32))
    grid = small_grid.model_copy(
        update={"train": settings, "model": ModelSettings(cutoff=4.0, mace=mace)}
    )
    batched, potential = setup(grid)
    eight = np.arange(8)
    parts = SplitIndices(eight, eight, eight)
    best = train(potential, batched, parts, settings, tmp_path, 0, IGNORE)
    errors = validate(best, batched, eight, LATENT_KINDS)
    assert errors["energy_mae"] < 0.1
    assert errors["force_mae"] < 1.0


def test_interrupted_training_resumes_to_the_same_weights(small_grid, tmp_path):
    parts = SplitIndices(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    batched, potential = setup(small_grid, "les")

    def weights(folder, stop_after=None):
        folder.mkdir(exist_ok=True)

        def interrupt(row):
            if row["epoch"] == stop_after:
                raise KeyboardInterrupt

        best = train(potential, batched, parts, small_grid.train, folder, 0, interrupt)
        return [np.asarray(x) for x in jax.tree.leaves(best)]

    uninterrupted = weights(tmp_path / "uninterrupted")
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            weights(tmp_path / "interrupted", stop_after=epoch)
    resumed = weights(tmp_path / "interrupted")
    for a, b in zip(uninterrupted, resumed, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = (tmp_path / "interrupted" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(r)["epoch"] for r in rows] == [1, 2, 3]


def test_divergence_raises_a_one_line_error(small_grid, tmp_path):
    batched, potential = setup(small_grid)
    settings = small_grid.train.model_copy(update={"learning_rate": 1e30})
    parts = SplitIndices(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    message = "diverged in epoch 1: .* has become non-finite: lower train.learning_rate"
    with pytest.raises(BenchError, match=message):
        train(potential, batched, parts, settings, tmp_path, 0, IGNORE)


def test_a_validation_part_without_labels_is_rejected(small_grid, tmp_path):
    batched, potential = setup(small_grid)
    settings = small_grid.train.model_copy(
        update={"loss": LossSettings(energy=0, force=0, charge=0, stress=1)}
    )
    parts = SplitIndices(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    with pytest.raises(BenchError, match="the validation set has stress, which train"):
        train(potential, batched, parts, settings, tmp_path, 0, IGNORE)


def test_the_error_names_the_structure_with_a_non_finite_prediction(
    small_grid, tmp_path
):
    """Two of its atoms coincide, so its prediction is never finite."""
    data = load_for_training(small_grid.dataset)
    columns = data.columns
    columns.values("positions", 5)[1] = columns.values("positions", 5)[0]
    run = small_grid.runs()[0]
    batched = batch_for_model(small_grid, run, data)
    potential = build_potential(
        small_grid.model,
        run,
        fit_atomic_energies(data),
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    sample_id = repr(columns.text("id", 5))
    index = data.ids.index(columns.text("id", 5))
    others = np.setdiff1d(np.arange(24), [index])
    train_on = lambda parts: train(
        potential, batched, parts, small_grid.train, tmp_path, 0, IGNORE
    )
    message = f"epoch 1: the prediction for {sample_id} is not finite even with"
    with pytest.raises(BenchError, match=message) as raised:
        train_on(
            SplitIndices(np.append(others[:15], index), others[15:19], others[19:])
        )
    assert "best.npz" not in str(raised.value) and "leave" in str(raised.value)
    with pytest.raises(BenchError, match=f"for {sample_id} of the validation set"):
        train_on(
            SplitIndices(others[:16], np.append(others[16:19], index), others[19:])
        )
