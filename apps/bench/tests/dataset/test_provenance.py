"""Results and checkpoints belong to the data, split and settings they come from."""

import json
import shutil

import ase.io
import filelock
import numpy as np
import pytest
import yaml
from backbones import read_header
from bench.dataset.differences import differences
from bench.dataset.provenance import PROVENANCE_KEY, check_provenance
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
    """Raised instead of pressing Ctrl-C."""


def stop(run, row):
    raise Stop


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, toy_structure, grid_of):
    """Returns a grid of one run, its data, and its folder stopped after one epoch."""
    path = tmp_path_factory.mktemp("data") / "own.extxyz"
    ase.io.write(path, [toy_structure(i) for i in range(24)], format="extxyz")
    changes = {"splits": ("random",), "long_range": ("none",)}
    changes |= {"train": {"epochs": 2, "batch_size": 4}}
    grid = Grid(**(grid_of(path).model_dump() | changes))
    folder = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.raises(Stop), output_folder(folder, grid):
        execute_runs(grid, folder, stop)
    assert (folder / RUN / "last.npz").exists() and (folder / RUN / "best.npz").exists()
    return grid, path, folder


@pytest.fixture
def resumed(stopped, tmp_path):
    """Returns a copy of the stopped grid that a test can change."""
    grid, data, folder = stopped
    data_copy = tmp_path / data.name
    shutil.copy(data, data_copy)
    shutil.copytree(folder, tmp_path / "out")
    moved = grid.model_copy(update={"dataset": str(data_copy)})
    config = yaml.safe_dump(moved.model_dump(mode="json"))
    (tmp_path / "out" / "config.yaml").write_text(config)
    return moved, data_copy, tmp_path / "out"


def change_frames(path, change):
    frames = ase.io.read(path, ":")
    change(frames)
    ase.io.write(path, frames, format="extxyz")


def test_a_stopped_run_resumes_and_its_files_store_the_provenance(resumed):
    grid, data, folder = resumed
    assert run_single(grid, folder, grid.runs()[0]) is None
    run_folder = folder / RUN
    made_from = json.loads((run_folder / "result.json").read_text())[PROVENANCE_KEY]
    for name in ("last.npz", "best.npz"):
        assert read_header(run_folder / name)[PROVENANCE_KEY] == made_from
    assert made_from["settings"]["train"]["epochs"] == 2
    # The finished run is reused until the data change.
    assert execute_runs(grid, folder, lambda *_: None).results
    evaluate(
        load_trained_model(run_folder),
        str(data),
        run_folder / "eval",
        is_training_data=True,
    )
    change_frames(data, lambda frames: frames[3].calc.results.update(energy=-1.0))
    with pytest.raises(
        BenchError, match="result.json was made from different data, hash"
    ):
        execute_runs(grid, folder, lambda *_: None)
    with pytest.raises(
        BenchError, match="model of .* was made from different data, hash"
    ):
        evaluate(
            load_trained_model(run_folder),
            str(data),
            run_folder / "other",
            is_training_data=True,
        )
    with pytest.raises(
        BenchError, match="evaluation.json was made from different data"
    ):
        evaluate(load_trained_model(run_folder), str(data), run_folder / "eval")
    assert not (run_folder / "other").exists()


@pytest.mark.parametrize("label", ["energy", "forces", "charges"])
def test_changed_labels_are_rejected(resumed, label):
    grid, data, folder = resumed
    before = (folder / RUN / "last.npz").read_bytes()

    def change(frames):
        frames[5].calc.results[label] = frames[5].calc.results[label] + 0.01

    change_frames(data, change)
    reason = run_single(grid, folder, grid.runs()[0])
    assert "last.npz was made from different data, hash (stored " in reason
    assert "\n" not in reason and f"delete {folder / RUN}" in reason
    assert (folder / RUN / "last.npz").read_bytes() == before


def test_a_changed_setting_is_listed_with_both_values(resumed):
    grid, _, folder = resumed
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


def test_another_split_is_rejected(resumed):
    grid, _, folder = resumed
    run_folder = folder / RUN
    split = Split.load(run_folder / "split.json")
    moved = split.test[:1]
    Split(
        (*split.train, *moved), split.validation, split.test[1:], "random",
        split.settings, 0,
    ).save(run_folder / "split.json")  # fmt: skip
    reason = run_single(grid, folder, grid.runs()[0])
    assert "was made with another split, split (stored " in reason


def change_header(path, change):
    """Changes the header of a checkpoint."""
    with np.load(path, allow_pickle=False) as file:
        entries = dict(file)
    header = json.loads(entries["header"].tobytes())
    change(header["header"])
    entries["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **entries)


@pytest.mark.parametrize("name", ["last.npz", "best.npz"])
def test_old_and_damaged_checkpoints_are_rejected(resumed, name):
    grid, _, folder = resumed
    path = folder / RUN / name
    content = path.read_bytes()
    change_header(path, lambda header: header.pop(PROVENANCE_KEY))
    reason = run_single(grid, folder, grid.runs()[0])
    assert f"{name} was made by an older version" in reason
    path.write_bytes(content[: len(content) // 2])
    reason = run_single(grid, folder, grid.runs()[0])
    assert f"{path} is damaged: delete {folder / RUN / 'last.npz'}" in reason
    assert (f"and {path}, and" in reason) == (name == "best.npz")


def test_missing_best_weights_are_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save_last({"w": np.zeros(2)}, [{"epoch": 1}])
    with pytest.raises(BenchError, match="best.npz is missing.* delete .*last.npz"):
        checkpoints.load_best({"w": np.zeros(2)})


def test_failed_runs_do_not_claim_a_folder(stopped, tmp_path):
    grid, _, _ = stopped
    out = tmp_path / "out"
    wrong = grid.model_copy(update={"dataset": str(tmp_path / "nothere.xyz")})
    with pytest.raises(BenchError, match="no data set"), output_folder(out, wrong):
        execute_runs(wrong, out, lambda *_: None)
    assert not out.exists()
    # A failed run stores its reason and split but does not claim the folder.
    train = grid.train.model_copy(update={"devices": 99})
    too_many_devices = grid.model_copy(update={"train": train, "seeds": (3,)})
    with output_folder(out, too_many_devices):
        assert "99 devices" in str(
            execute_runs(too_many_devices, out, lambda *_: None).failures
        )
    assert (out / "random-mace-seed3" / "failed.json").exists()
    with pytest.raises(Stop), output_folder(out, grid):
        execute_runs(grid, out, stop)
    assert not (out / "random-mace-seed3" / "failed.json").exists()
    assert (out / RUN / "last.npz").exists()


@pytest.mark.parametrize("settings", [{}, {"descriptor": "Composition()"}])
def test_a_split_file_of_the_user_is_used(stopped, tmp_path, settings):
    """Regardless of its kind and seed, and of other settings without results."""
    grid, _, folder = stopped
    out = tmp_path / "out"
    run_folder = out / RUN
    run_folder.mkdir(parents=True)
    original = Split.load(folder / RUN / "split.json")
    given = Split(
        original.test, original.validation, original.train, "random", settings, 0
    )
    given.save(run_folder / "split.json")
    other = grid.model_copy(update={"seeds": (3,)})
    config = yaml.safe_dump(other.model_dump(mode="json"))
    (out / "config.yaml").write_text(config)
    with output_folder(out, grid):
        claim_folder(out, grid)
        run = grid.runs()[0]
        assert GridRunner(grid, out)._split(run) == given
    assert original.settings["test_fraction"] == grid.split.test_fraction


def test_a_failure_stores_the_traceback(stopped, tmp_path, monkeypatch):
    grid, _, _ = stopped

    def fail(*_, **__):
        raise ValueError("no such luck")

    monkeypatch.setattr("bench.experiment.splits.chemsplit.make_split", fail)
    assert "no such luck" in run_single(grid, tmp_path, grid.runs()[0])
    failed = json.loads((tmp_path / RUN / "failed.json").read_text())
    assert "in fail\n" in failed["traceback"]


def test_an_empty_folder_is_deleted_before_the_lock_is_released(
    stopped, tmp_path, monkeypatch
):
    grid, _, _ = stopped
    exists = []
    release = filelock.FileLock.release

    def release_and_record(lock, *arguments, **options):
        exists.append((tmp_path / "out").exists())
        release(lock, *arguments, **options)

    monkeypatch.setattr(filelock.FileLock, "release", release_and_record)
    with output_folder(tmp_path / "out", grid):
        pass
    assert exists[0] is False


def test_differences_are_listed_by_key():
    stored = {"train": {"a": 1, "loss": {"b": 2}}, "same": [1], "gone": {}}
    current = {"train": {"a": 1, "loss": {"b": 3}}, "same": [1], "new": "x" * 99}
    listed = differences(stored, current)
    assert listed.startswith(
        "train.loss.b (stored 2, now 3), new (stored None, now xxx"
    )
    assert listed.endswith("gone (stored {}, now None)") and len(listed) < 160
    long = differences({}, {str(i): i for i in range(9)})
    assert long.endswith("2 (stored None, now 2) and 6 more")
    check_provenance("it", current, current, "go")
    with pytest.raises(
        BenchError, match="atomic energies, atomic_energies.H .stored None, "
    ):
        check_provenance("it", {}, {"atomic_energies": {"H": -13.6}}, "go")
