import dataclasses
import itertools
import json
from types import SimpleNamespace
from typing import get_args

import ase.io
import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator
from bench.batches.loading import Targets
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies, mean_charges
from bench.evaluation.errors import Errors, Prediction, errors_of, floor_of
from bench.exceptions import BenchError
from bench.experiment.grid import make_runs, output_folder
from bench.experiment.splits import split_data
from bench.experiment.train_and_test import batch_for_model
from bench.experiment.trainable import usable_indices
from bench.labels import KINDS
from bench.model.building import build_potential
from bench.report.write import write_report
from bench.settings.architectures import MACESettings, ModelSettings
from bench.settings.grid import SplitKind, SplitSettings
from bench.settings.training import LossSettings, TrainSettings
from bench.training.loop import Parts, make_optimizer, train, validate
from bench.training.loss import loss
from scipy.sparse import csr_matrix

SHAPES = (2,), (2, 3, 3), (2, 6), (2, 3), (2, 3)
LATENT = [kind for kind in KINDS if kind != "charge"]


def setup(grid, long_range="none"):
    data = load_for_training(grid.dataset)
    run = next(r for r in grid.runs() if r.long_range == long_range)
    batched = batch_for_model(grid, run, data)
    potential = build_potential(
        grid.model,
        run,
        fit_atomic_energies(data.samples),
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    return batched, potential


def test_errors_are_those_computed_by_hand(own_file):
    samples = load_for_training(str(own_file)).samples[:2]
    wrong = [
        Prediction(
            s.energy + 0.01 * len(s.structure), s.forces + 0.2, None, s.charges - 0.03
        )
        for s in samples
    ]
    found = errors_of(wrong, samples)
    expected = [10, 10, 200, 200, np.nan, np.nan, 30, 30] + [np.nan] * 6
    np.testing.assert_allclose(dataclasses.astuple(found), expected, rtol=1e-9)
    assert found.known()["stress_mae"] is None
    latent = errors_of(wrong, samples, LATENT)
    assert np.isnan([latent.charge_mae, latent.charge_rmse]).all()
    weights = LossSettings(energy=2.0, force=3.0, charge=5.0)
    by_hand = 2 * 0.01**2 + 3 * 0.2**2 + 5 * 0.03**2
    assert found.loss(weights) == pytest.approx(by_hand)
    assert Errors(energy_rmse=10.0).loss(weights) == pytest.approx(2 * 0.01**2)
    assert np.isnan(Errors().loss(weights))
    floor = floor_of(samples, {1: 0.0, 6: 0.0, 8: 0.0}, mean_charges(samples))
    every = np.concatenate([s.forces.ravel() for s in samples])
    np.testing.assert_allclose(floor.force_mae, 1000 * np.abs(every).mean())
    numbers = np.concatenate([s.structure.numbers for s in samples])
    charges = np.concatenate([s.charges for s in samples])
    apart = [charges[numbers == z] - charges[numbers == z].mean() for z in {1, 6, 8}]
    np.testing.assert_allclose(
        floor.charge_mae, 1000 * np.abs(np.concatenate(apart)).mean()
    )


class Told(eqx.Module):
    """A potential that predicts what it was told."""

    prediction: bb.Prediction

    def __call__(self, batch):
        return self.prediction


def test_the_loss_is_the_weighted_mean_over_labels_that_exist():
    rng = np.random.default_rng(0)
    mask = np.array([[1, 1, 1], [1, 1, 0]], bool)
    x = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    y = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    has_force = np.array([[1, 1, 1], [0, 0, 0]], np.float32)
    has_charge = np.array([[0, 0, 0], [1, 1, 0]], np.float32)
    sizes = mask.sum(1).astype(np.float32)
    weights = np.ones(2, np.float32), has_force, np.zeros(2), has_charge, np.ones(2)
    targets = Targets(*y, *weights, sizes)
    told = Told(bb.Prediction(x[0], np.zeros((2, 3)), x[1], x[2], x[3]))
    batch = SimpleNamespace(mask=jnp.asarray(mask))
    energy = np.mean(((x[0] - y[0]) / [3, 2]) ** 2)
    forces = np.mean((x[1][0] - y[1][0]) ** 2)
    charges = np.mean((x[3][1, :2] - y[3][1, :2]) ** 2)
    settings = LossSettings(energy=2.0, force=3.0, stress=7.0, charge=5.0)
    found = loss(told, batch, targets, settings)
    np.testing.assert_allclose(found, 2 * energy + 3 * forces + 5 * charges, rtol=1e-5)

    published = settings.model_copy(update={"form": "published", "stress": 0.0})
    energy = np.sum((x[0] - y[0]) ** 2 * [3, 2]) / 5
    found = loss(told, batch, targets, published)
    np.testing.assert_allclose(found, 2 * energy + 3 * forces + 5 * charges, rtol=1e-5)

    far = LossSettings(energy=0.0, force=1.0, charge=0.0, huber=0.5)
    d = np.abs(x[1][0] - y[1][0])
    by_hand = np.mean(np.where(d < 0.5, d**2, 2 * 0.5 * d - 0.25))
    np.testing.assert_allclose(loss(told, batch, targets, far), by_hand, rtol=1e-5)


def test_a_frozen_part_keeps_its_weights(small_grid, tmp_path):
    batched, potential = setup(small_grid, "les")
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    for frozen in ("long_range", "backbone"):
        settings = small_grid.train.model_copy(
            update={"epochs": 1, "frozen": (frozen,)}
        )
        place = tmp_path / frozen
        place.mkdir()
        best = train(potential, batched, parts, settings, place, 0, lambda row: None)
        moved = {
            "long_range": np.any(layer(best).weight != layer(potential).weight),
            "backbone": np.any(best.backbone.embedding != potential.backbone.embedding),
        }
        assert moved == {name: name != frozen for name in moved}


def layer(potential):
    return potential.backbone.hooks.layers["final"]


def test_training_stops_when_patience_is_over(small_grid, tmp_path):
    batched, potential = setup(small_grid)
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    settings = small_grid.train.model_copy(
        update={
            "epochs": 9,
            "patience": 2,
            "frozen": ("backbone",),  # and there is nothing else
        }
    )
    told = []
    train(potential, batched, parts, settings, tmp_path, 0, told.append)
    # Nothing moves, so the first epoch stays the best one.
    assert [row["epoch"] for row in told] == [1, 2, 3]
    train(potential, batched, parts, settings, tmp_path, 0, told.append)
    assert len(told) == 3


def test_a_model_can_learn_a_few_structures_by_heart(small_grid, tmp_path):
    settings = small_grid.train.model_copy(
        update={"epochs": 250, "batch": 8, "ema": 0.9, "learning_rate": 0.02}
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
    parts = Parts(eight, eight, eight)
    best = train(potential, batched, parts, settings, tmp_path, 0, lambda row: None)
    errors = validate(best, batched, eight, LATENT)
    assert errors.force_mae < 0.03 * floor.force_mae
    assert errors.energy_mae < 1.0


@pytest.mark.slow
def test_eight_structures_are_learned_to_a_tenth_of_a_millielectronvolt(
    small_grid, tmp_path
):
    """By a larger model and for longer: 0.1 meV an atom and 1 meV/Å."""
    settings = small_grid.train.model_copy(
        update={"epochs": 2500, "batch": 8, "ema": 0.98, "weight_decay": 0.0}
    )
    mace = MACESettings(channels=16, correlation=3, radial_mlp=(32, 32))
    grid = small_grid.model_copy(
        update={"train": settings, "model": ModelSettings(cutoff=4.0, mace=mace)}
    )
    batched, potential = setup(grid)
    eight = np.arange(8)
    parts = Parts(eight, eight, eight)
    best = train(potential, batched, parts, settings, tmp_path, 0, lambda row: None)
    errors = validate(best, batched, eight, LATENT)
    assert errors.energy_mae < 0.1
    assert errors.force_mae < 1.0


@pytest.mark.parametrize(("name", "factor"), [("adamw", 1.0), ("nadam", 28 / 19)])
def test_the_first_step_is_that_of_the_optimizer(name, factor):
    """The rate along the sign of the slope; Nesterov's looks 0.09 / 0.19 further."""
    settings = TrainSettings(optimizer=name, learning_rate=0.1, weight_decay=0.2)
    optimizer = make_optimizer(settings, 10**6)
    weights, slopes = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.004])
    update, _ = optimizer.update(slopes, optimizer.init(weights), weights)
    expected = -0.1 * (factor * jnp.sign(slopes) + 0.2 * weights)
    np.testing.assert_allclose(update, expected, rtol=1e-4)


def test_equal_settings_share_compiled_steps():
    one, two = (TrainSettings(warmup=0.1) for _ in range(2))
    assert make_optimizer(one, 10) is make_optimizer(two, 10)
    assert make_optimizer(one, 10) is not make_optimizer(one, 11)


def test_a_stopped_training_goes_on_to_the_same_weights(small_grid, tmp_path):
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    batched, potential = setup(small_grid, "les")

    def weights(folder, stop_after=None):
        folder.mkdir(exist_ok=True)

        def report(row):
            if row["epoch"] == stop_after:
                raise KeyboardInterrupt

        best = train(potential, batched, parts, small_grid.train, folder, 0, report)
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
    batched, potential = setup(small_grid)
    wild = small_grid.train.model_copy(update={"learning_rate": 1e30})
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    said = "diverged in epoch 1: .* has become non-finite: lower train.learning_rate"
    with pytest.raises(BenchError, match=said):
        train(potential, batched, parts, wild, tmp_path, 0, lambda row: None)


def test_a_validation_part_without_labels_is_refused(small_grid, tmp_path):
    batched, potential = setup(small_grid)
    settings = small_grid.train.model_copy(
        update={"loss": LossSettings(energy=0, force=0, charge=0, stress=1)}
    )
    parts = Parts(np.arange(16), np.arange(16, 20), np.arange(20, 24))
    with pytest.raises(BenchError, match="the validation part has stress, which train"):
        train(potential, batched, parts, settings, tmp_path, 0, lambda row: None)


def test_the_structure_that_breaks_the_loss_is_named(small_grid, tmp_path):
    """Two of its atoms are in one place, whatever the weights are."""
    data = load_for_training(small_grid.dataset)
    columns = data.columns
    columns.values("positions", 5)[1] = columns.values("positions", 5)[0]
    run = small_grid.runs()[0]
    batched = batch_for_model(small_grid, run, data)
    potential = build_potential(
        small_grid.model,
        run,
        fit_atomic_energies(data.samples),
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    name = repr(columns.text("id", 5))
    index = data.ids.index(columns.text("id", 5))
    others = np.setdiff1d(np.arange(24), [index])
    go = lambda parts: train(
        potential, batched, parts, small_grid.train, tmp_path, 0, lambda row: None
    )
    said = f"epoch 1: the prediction for {name} is not finite, and was not with"
    with pytest.raises(BenchError, match=said) as told:
        go(Parts(np.append(others[:15], index), others[15:19], others[19:]))
    assert "best.npz" not in str(told.value) and "leave" in str(told.value)
    with pytest.raises(BenchError, match=f"for {name} of the validation part"):
        go(Parts(others[:16], np.append(others[16:19], index), others[19:]))


def test_a_grid_is_run_once_and_the_same_seed_repeats_it(small_grid, tmp_path):
    told = []
    tables = []
    for name in ("a", "b"):
        with output_folder(tmp_path / name, small_grid) as folder:
            outcome = make_runs(small_grid, folder, lambda *x: told.append(x))
            tables.append(outcome.results)
    assert tables[0] == tables[1]
    assert len(told) == 2 * 4 * 3
    with output_folder(tmp_path / "a", small_grid) as folder:
        told.clear()
        again = make_runs(small_grid, folder, lambda *x: told.append(x))
    assert again == (tables[0], {})
    assert [row for _, row in told] == [None] * 4
    for result in tables[0]:
        parts = result["sizes"]
        assert sum(parts.values()) == 24
    place = tmp_path / "a" / "random-mace+les-seed0"
    assert {p.name for p in place.iterdir()} == {
        ".lock",
        "best.npz",
        "cost.json",
        "environment.json",
        "last.npz",
        "metrics.csv",
        "metrics.jsonl",
        "model.npz",
        "predictions.extxyz",
        "result.json",
        "split.json",
    }


def test_a_run_that_fails_does_not_stop_the_others(small_grid, tmp_path):
    """All structures of the set are neutral, so the charge split cannot be made."""
    grid = small_grid.model_copy(
        update={"splits": ("charge", "random"), "long_range": ("none",)}
    )
    with output_folder(tmp_path / "out", grid) as folder:
        outcome = make_runs(grid, folder, lambda *x: None)
        assert [r["run"]["split"] for r in outcome.results] == ["random"]
        assert "all are neutral" in outcome.failures["charge-mace-seed0"]
        page = write_report(folder)
    assert "charge-mace-seed0 failed: The charge split" in page.read_text()


@pytest.fixture
def mixed(tmp_path, springs):
    """Structures of two sizes, some of them charged; two a group."""
    frames = [springs(i) for i in range(24)]
    for frame in frames:
        frame.calc.results = {"energy": frame.calc.results["energy"]}
    for frame in frames[8:]:
        energy = frame.calc.results
        del frame[-1]
        frame.calc = SinglePointCalculator(frame, **energy)
    for frame in (*frames[6:8], *frames[14:16]):
        frame.info["total_charge"] = -1
    path = tmp_path / "mixed.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return load_for_training(str(path))


@pytest.mark.parametrize("kind", ["size", "seed-similarity", "max-min", "separated"])
def test_every_split_uses_all_structures_and_does_not_divide_groups(kind, mixed):
    vectors = csr_matrix(np.random.default_rng(0).uniform(size=(len(mixed), 9)))
    split = split_data(mixed, vectors, kind, SplitSettings(), 0)
    parts = split.indices(mixed.ids)
    assert sorted(np.concatenate(parts).tolist()) == list(range(24))
    for a, b in itertools.combinations(parts, 2):
        assert not {mixed.groups[i] for i in a} & {mixed.groups[i] for i in b}
    if kind == "size":
        assert {len(mixed.samples[i].structure) for i in parts[2]} == {5}


@pytest.mark.parametrize("kind", get_args(SplitKind))
@pytest.mark.parametrize(
    ("count", "groups", "fraction", "message"),
    [
        (1, 1, 0.3, "has 1 structure, and a split needs at least three"),
        (2, 2, 0.3, "has 2 structures, and a split needs at least three"),
        (5, 1, 0.3, "has 1 group of structures, and a split needs at least three"),
        (5, 5, 0.9, "split.test_fraction=0.9 leaves 0 of 5 .* which need one each"),
    ],
)
def test_too_few_structures_for_a_split_are_rejected(
    kind, count, groups, fraction, message, tmp_path, springs
):
    frames = [springs(i) for i in range(count)]
    for i, frame in enumerate(frames):
        frame.info["group"] = f"g{i % groups}"
    path = tmp_path / "few.extxyz"
    ase.io.write(path, frames, format="extxyz")
    data = load_for_training(str(path))
    if fraction == 0.9 and kind in ("charge", "named"):
        message = "needs neutral and charged|but none do"
    settings = SplitSettings(test_fraction=fraction)
    with pytest.raises(BenchError, match=message):
        split_data(data, csr_matrix(np.eye(count)), kind, settings, 0)


def test_identical_structures_cannot_be_clustered(mixed):
    with (
        pytest.warns(UserWarning, match="distinct clusters"),
        pytest.raises(BenchError, match="The cluster split cannot be made: All"),
    ):
        split_data(mixed, csr_matrix(np.ones((24, 2))), "cluster", SplitSettings(), 0)


def test_the_test_set_of_the_named_split_is_the_matching_ids(mixed):
    vectors = csr_matrix((len(mixed), 1))
    settings = SplitSettings(test_ids="s00[0-3]")
    *_, test = split_data(mixed, vectors, "named", settings, 0).indices(mixed.ids)
    assert [mixed.ids[i] for i in test] == ["s000", "s001", "s002", "s003"]
    with pytest.raises(BenchError, match="but none do"):
        split_data(mixed, vectors, "named", SplitSettings(), 0)


def test_the_test_set_of_the_charge_split_is_the_charged_structures(mixed):
    vectors = csr_matrix((len(mixed), 1))
    split = split_data(mixed, vectors, "charge", SplitSettings(), 0)
    *_, test = split.indices(mixed.ids)
    assert {mixed.groups[i] for i in test} == {"g3", "g7"}


def test_folders_in_use_or_of_other_experiments_are_refused(small_grid, tmp_path):
    other = small_grid.model_copy(update={"seeds": (5,)})
    with (
        output_folder(tmp_path / "out", small_grid),
        pytest.raises(BenchError, match="Another process is working"),
        output_folder(tmp_path / "out", small_grid),
    ):
        pass
    place = tmp_path / "out" / small_grid.runs()[0].name
    place.mkdir(parents=True)
    (tmp_path / "out" / "config.yaml").write_text(
        yaml.safe_dump(small_grid.model_dump(mode="json"))
    )
    with output_folder(tmp_path / "out", other):
        pass  # nothing was done in it yet
    (place / "last.npz").write_bytes(b"")
    with (
        pytest.raises(
            BenchError, match=r"other settings, seeds .stored \[0\], now \[5"
        ),
        output_folder(tmp_path / "out", other),
    ):
        pass


def test_structures_of_new_elements_are_excluded_and_reported(own_file):
    data = load_for_training(str(own_file))

    class FixedSplit:
        def indices(self, ids):
            return np.arange(4), np.arange(4, 6), np.arange(6, 8)

    parts, excluded = usable_indices(data, FixedSplit(), "exclude")
    assert [len(p) for p in parts] == [4, 2, 2]
    assert excluded == {"structures": 0, "new_elements": {}}
    rare = data.samples[6].structure
    rare.numbers[0] = 30
    parts, excluded = usable_indices(data, FixedSplit(), "exclude")
    assert parts.test.tolist() == [7]
    assert excluded == {"structures": 1, "new_elements": {"Zn": 1}}
    with pytest.raises(BenchError, match="1 structures .* the training set lacks .Zn."):
        usable_indices(data, FixedSplit(), "error")
