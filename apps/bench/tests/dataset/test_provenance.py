"""Results and checkpoints belong to the data, split and settings they come from."""

import json
import shutil

import ase.io
import filelock
import numpy as np
import pytest
import yaml
from backbones import read_header
from bench.dataset.provenance import KEY, check_provenance, differences
from bench.evaluation.trained import evaluate, load_trained_model
from bench.exceptions import BenchError
from bench.experiment.grid import claim_folder, execute_runs, output_folder
from bench.experiment.parallel import run_single
from bench.experiment.runner import GridRunner
from bench.settings.grid import Grid
from bench.training.checkpoint import Checkpoints
from chemsplit import Split

RUN = "random-mace-seed0"


class Stop(KeyboardInterrupt):
    """As if the user pressed Ctrl-C."""


def stop(run, row):
    raise Stop


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, springs, grid_of):
    """A grid of one run, its data, and its folder after the first of two epochs."""
    path = tmp_path_factory.mktemp("data") / "own.extxyz"
    ase.io.write(path, [springs(i) for i in range(24)], format="extxyz")
    changes = {"splits": ("random",), "long_range": ("none",)}
    changes |= {"train": {"epochs": 2, "batch_size": 4}}
    grid = Grid(**(grid_of(path).model_dump() | changes))
    folder = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.raises(Stop), output_folder(folder, grid):
        execute_runs(grid, folder, stop)
    assert (folder / RUN / "last.npz").exists() and (folder / RUN / "best.npz").exists()
    return grid, path, folder


@pytest.fixture
def again(stopped, tmp_path):
    """A copy of the stopped folder and of its data, which a test may change."""
    grid, data, folder = stopped
    own = tmp_path / data.name
    shutil.copy(data, own)
    shutil.copytree(folder, tmp_path / "out")
    moved = grid.model_copy(update={"dataset": str(own)})
    config = yaml.safe_dump(moved.model_dump(mode="json"))
    (tmp_path / "out" / "config.yaml").write_text(config)
    return moved, own, tmp_path / "out"


def with_labels(path, change):
    frames = ase.io.read(path, ":")
    change(frames)
    ase.io.write(path, frames, format="extxyz")


def test_a_stopped_run_goes_on_and_its_files_say_from_what(again):
    grid, data, folder = again
    assert run_single(grid, folder, grid.runs()[0]) is None
    place = folder / RUN
    made_from = json.loads((place / "result.json").read_text())[KEY]
    for name in ("last.npz", "best.npz"):
        assert read_header(place / name)[KEY] == made_from
    assert made_from["settings"]["train"]["epochs"] == 2
    # The finished run is kept as long as nothing changes, and refused afterwards.
    assert execute_runs(grid, folder, lambda *_: None).results
    evaluate(
        load_trained_model(place), str(data), place / "eval", is_training_data=True
    )
    with_labels(data, lambda frames: frames[3].calc.results.update(energy=-1.0))
    with pytest.raises(BenchError, match="result.json was made from other data, data"):
        execute_runs(grid, folder, lambda *_: None)
    with pytest.raises(BenchError, match="model of .* was made from other data, data"):
        evaluate(
            load_trained_model(place), str(data), place / "other", is_training_data=True
        )
    with pytest.raises(BenchError, match="evaluation.json was made from other data"):
        evaluate(load_trained_model(place), str(data), place / "eval")
    assert not (place / "other").exists()


@pytest.mark.parametrize("label", ["energy", "forces", "charges"])
def test_other_labels_of_the_same_ids_are_refused(again, label):
    grid, data, folder = again
    before = (folder / RUN / "last.npz").read_bytes()

    def change(frames):
        frames[5].calc.results[label] = frames[5].calc.results[label] + 0.01

    with_labels(data, change)
    reason = run_single(grid, folder, grid.runs()[0])
    assert "last.npz was made from other data, data (stored " in reason
    assert "\n" not in reason and f"delete {folder / RUN}" in reason
    assert (folder / RUN / "last.npz").read_bytes() == before


def test_a_changed_setting_is_named_with_both_values(again):
    grid, _, folder = again
    train = grid.train.model_copy(update={"learning_rate": 0.02})
    changed = grid.model_copy(update={"train": train})
    reason = run_single(changed, folder, grid.runs()[0])
    assert "other settings, train.learning_rate (stored 0.01, now 0.02)" in reason
    with (
        pytest.raises(BenchError, match=r"other settings, .*train.learning_rate \(sto"),
        output_folder(folder, changed),
    ):
        pass
    split = grid.split.model_copy(update={"test_fraction": 0.5})
    reason = run_single(
        grid.model_copy(update={"split": split}), folder, grid.runs()[0]
    )
    assert "split.test_fraction (stored 0.3, now 0.5)" in reason


def test_another_split_is_refused(again):
    grid, _, folder = again
    place = folder / RUN
    split = Split.load(place / "split.json")
    moved = split.test[:1]
    Split(
        (*split.train, *moved), split.validation, split.test[1:], "random",
        split.settings, 0,
    ).save(place / "split.json")  # fmt: skip
    reason = run_single(grid, folder, grid.runs()[0])
    assert "was made with another split, split (stored " in reason


def rewritten(path, change):
    """A checkpoint with another header, as another version would have written it."""
    with np.load(path, allow_pickle=False) as file:
        entries = dict(file)
    header = json.loads(entries["header"].tobytes())
    change(header["header"])
    entries["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **entries)


@pytest.mark.parametrize("name", ["last.npz", "best.npz"])
def test_checkpoints_that_say_nothing_or_are_damaged_are_refused(again, name):
    grid, _, folder = again
    path = folder / RUN / name
    whole = path.read_bytes()
    rewritten(path, lambda header: header.pop(KEY))
    reason = run_single(grid, folder, grid.runs()[0])
    assert f"{name} was made by an older version" in reason
    path.write_bytes(whole[: len(whole) // 2])
    reason = run_single(grid, folder, grid.runs()[0])
    assert f"{path} is damaged: delete {folder / RUN / 'last.npz'}" in reason
    assert (f"and {path}, and" in reason) == (name == "best.npz")


def test_missing_best_weights_are_told(tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save_last({"w": np.zeros(2)}, [{"epoch": 1}])
    with pytest.raises(BenchError, match="best.npz is missing.* delete .*last.npz"):
        checkpoints.load_best({"w": np.zeros(2)})


def test_a_mistake_leaves_nothing_and_a_folder_without_results_is_anyones(
    stopped, tmp_path
):
    grid, _, _ = stopped
    out = tmp_path / "out"
    wrong = grid.model_copy(update={"dataset": str(tmp_path / "nothere.xyz")})
    with pytest.raises(BenchError, match="no data set"), output_folder(out, wrong):
        execute_runs(wrong, out, lambda *_: None)
    assert not out.exists()
    # A run that failed leaves a reason and a split, and no claim on the folder.
    train = grid.train.model_copy(update={"devices": 99})
    greedy = grid.model_copy(update={"train": train, "seeds": (3,)})
    with output_folder(out, greedy):
        assert "99 devices" in str(execute_runs(greedy, out, lambda *_: None).failures)
    assert (out / "random-mace-seed3" / "failed.json").exists()
    with pytest.raises(Stop), output_folder(out, grid):
        execute_runs(grid, out, stop)
    assert not (out / "random-mace-seed3" / "failed.json").exists()
    assert (out / RUN / "last.npz").exists()


@pytest.mark.parametrize("settings", [{}, {"descriptor": "Composition()"}])
def test_a_split_that_somebody_put_there_is_used(stopped, tmp_path, settings):
    """Whatever its name and seed, and whatever other settings came to nothing there."""
    grid, _, folder = stopped
    out = tmp_path / "out"
    place = out / RUN
    place.mkdir(parents=True)
    made = Split.load(folder / RUN / "split.json")
    own = Split(made.test, made.validation, made.train, "random", settings, 0)
    own.save(place / "split.json")
    other = grid.model_copy(update={"seeds": (3,)})
    config = yaml.safe_dump(other.model_dump(mode="json"))
    (out / "config.yaml").write_text(config)
    with output_folder(out, grid):
        claim_folder(out, grid)
        run = grid.runs()[0]
        assert GridRunner(grid, out)._split(run) == own
    assert made.settings["test_fraction"] == grid.split.test_fraction


def test_a_failure_keeps_the_place_of_what_a_library_said(
    stopped, tmp_path, monkeypatch
):
    grid, _, _ = stopped

    def fail(*_, **__):
        raise ValueError("no such luck")

    monkeypatch.setattr("bench.experiment.splits.chemsplit.make_split", fail)
    assert "no such luck" in run_single(grid, tmp_path, grid.runs()[0])
    failed = json.loads((tmp_path / RUN / "failed.json").read_text())
    assert "in fail\n" in failed["traceback"]


def test_an_empty_folder_goes_while_it_is_locked(stopped, tmp_path, monkeypatch):
    grid, _, _ = stopped
    there = []
    release = filelock.FileLock.release

    def watched(lock, *arguments, **options):
        there.append((tmp_path / "out").exists())
        release(lock, *arguments, **options)

    monkeypatch.setattr(filelock.FileLock, "release", watched)
    with output_folder(tmp_path / "out", grid):
        pass
    assert there[0] is False


def test_differences_are_named_by_their_keys():
    there = {"train": {"a": 1, "loss": {"b": 2}}, "same": [1], "gone": {}}
    here = {"train": {"a": 1, "loss": {"b": 3}}, "same": [1], "new": "x" * 99}
    found = differences(there, here)
    assert found.startswith("train.loss.b (stored 2, now 3), new (stored None, now xxx")
    assert found.endswith("gone (stored {}, now None)") and len(found) < 160
    many = differences({}, {str(i): i for i in range(9)})
    assert many.endswith("2 (stored None, now 2) and 6 more")
    check_provenance("it", here, here, "go")
    with pytest.raises(
        BenchError, match="atomic energies, atomic_energies.H .stored None, "
    ):
        check_provenance("it", {}, {"atomic_energies": {"H": -13.6}}, "go")
