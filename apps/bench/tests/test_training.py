import dataclasses
import json

import jax
import numpy as np
import pytest
from bench import _experiment
from bench._config import TrainSettings
from bench._dataset import load
from bench._errors import BenchError
from bench._evaluation import Errors, Predicted, errors_of, floor_of
from bench._experiment import _shelf, output_folder, run_grid
from bench._model import build_potential
from bench._references import fit_references, mean_charges
from bench._training import Parts, train, validate


def setup(grid, long_range="none"):
    data = load(grid.dataset)
    run = next(r for r in grid.runs() if r.long_range == long_range)
    shelf = _shelf(grid, run, data)
    potential = build_potential(
        grid.model,
        long_range,
        fit_references(data.samples),
        average_neighbours=4.0,
        scale=1.0,
        seed=0,
    )
    return shelf, potential


def test_errors_are_those_computed_by_hand(own_file):
    samples = load(str(own_file)).samples[:2]
    wrong = [
        Predicted(s.energy + 0.01 * len(s.structure), s.forces + 0.2, s.charges - 0.03)
        for s in samples
    ]
    found = errors_of(wrong, samples, charges=True)
    np.testing.assert_allclose(
        dataclasses.astuple(found), [10, 10, 200, 200, 30, 30], rtol=1e-9
    )
    latent = errors_of(wrong, samples, charges=False)
    assert np.isnan([latent.charge_mae, latent.charge_rmse]).all()
    weights = TrainSettings(energy_weight=2.0, force_weight=3.0, charge_weight=5.0)
    by_hand = 2e-4 + 3e-2 + 5 * 4e-4
    assert Errors(1, 10, 1, 100, 1, 20).loss(weights) == pytest.approx(by_hand)
    unlabelled = Errors(1, 10, np.nan, np.nan, np.nan, np.nan)
    assert unlabelled.loss(weights) == pytest.approx(2e-4)
    floor = floor_of(samples, {1: 0.0, 6: 0.0, 8: 0.0}, mean_charges(samples))
    numbers = np.concatenate([s.structure.numbers for s in samples])
    charges = np.concatenate([s.charges for s in samples])
    apart = [
        np.abs(charges[numbers == z] - charges[numbers == z].mean())
        for z in set(numbers)
    ]
    np.testing.assert_allclose(floor.charge_mae, 1000 * np.concatenate(apart).mean())
    every = np.concatenate([s.forces.ravel() for s in samples])
    np.testing.assert_allclose(floor.force_mae, 1000 * np.abs(every).mean())


def test_a_model_can_learn_a_few_structures_by_heart(small_grid, tmp_path):
    settings = small_grid.train.model_copy(
        update={"epochs": 400, "batch": 8, "ema": 0.9, "learning_rate": 0.02}
    )
    grid = small_grid.model_copy(
        update={
            "train": settings,
            "model": small_grid.model.model_copy(
                update={"channels": 8, "l_max": 2, "radial": (16, 16)}
            ),
        }
    )
    shelf, potential = setup(grid)
    eight = np.arange(8)
    floor = floor_of(shelf.data.samples[:8], dict(potential.references), {})
    parts = Parts(eight, eight, eight)
    best = train(potential, shelf, parts, settings, tmp_path, 0, lambda row: None)
    errors = validate(best, shelf, eight, charges=False)
    assert errors.force_mae < 0.03 * floor.force_mae
    assert errors.energy_mae < 1.0


def test_a_stopped_training_goes_on_to_the_same_weights(small_grid, tmp_path):
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    shelf, potential = setup(small_grid, "les")

    def weights(folder, stop_after=None):
        folder.mkdir(exist_ok=True)

        def report(row):
            if row["epoch"] == stop_after:
                raise KeyboardInterrupt

        best = train(potential, shelf, parts, small_grid.train, folder, 0, report)
        return [np.asarray(x) for x in jax.tree.leaves(best)]

    straight = weights(tmp_path / "straight")
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            weights(tmp_path / "stopped", stop_after=epoch)
    resumed = weights(tmp_path / "stopped")
    for a, b in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(r)["epoch"] for r in rows] == [1, 2, 3]


def test_divergence_stops_with_a_sentence(small_grid, tmp_path):
    shelf, potential = setup(small_grid)
    wild = small_grid.train.model_copy(update={"learning_rate": 1e30})
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    with pytest.raises(BenchError, match="diverged in epoch 1.*learning_rate"):
        train(potential, shelf, parts, wild, tmp_path, 0, lambda row: None)


def test_a_grid_is_run_once_and_the_same_seed_repeats_it(small_grid, tmp_path):
    told = []
    tables = []
    for name in ("a", "b"):
        with output_folder(tmp_path / name, small_grid) as folder:
            tables.append(run_grid(small_grid, folder, lambda *x: told.append(x)))
    assert tables[0] == tables[1]
    assert len(told) == 2 * 4 * 3
    with output_folder(tmp_path / "a", small_grid) as folder:
        told.clear()
        again = run_grid(small_grid, folder, lambda *x: told.append(x))
    assert again == tables[0]
    assert [row for _, row in told] == [None] * 4
    for result in tables[0]:
        parts = result["sizes"]
        assert sum(parts.values()) == 24
    place = tmp_path / "a" / "random-mace+les-seed0"
    assert {p.name for p in place.iterdir()} == {
        "best.npz",
        "environment.json",
        "last.npz",
        "metrics.csv",
        "metrics.jsonl",
        "predictions.extxyz",
        "result.json",
        "split.json",
    }


def test_folders_in_use_or_of_other_experiments_are_refused(small_grid, tmp_path):
    other = small_grid.model_copy(update={"seeds": (5,)})
    with (
        output_folder(tmp_path / "out", small_grid),
        pytest.raises(BenchError, match="Another process is working"),
        output_folder(tmp_path / "out", small_grid),
    ):
        pass
    with (
        pytest.raises(BenchError, match="experiment with other settings"),
        output_folder(tmp_path / "out", other),
    ):
        pass


def test_structures_of_unseen_elements_are_left_out_and_named(own_file):
    data = load(str(own_file))

    class Cut:
        def indices(self, ids):
            return np.arange(4), np.arange(4, 6), np.arange(6, 8)

    parts, excluded = _experiment._usable_parts(data, Cut())
    assert [len(p) for p in parts] == [4, 2, 2]
    assert excluded == {"structures": 0, "unseen": {}}
    rare = data.samples[6].structure
    rare.numbers[0] = 30
    parts, excluded = _experiment._usable_parts(data, Cut())
    assert parts.test.tolist() == [7]
    assert excluded == {"structures": 1, "unseen": {"Zn": 1}}
