"""A grid as a whole: side by side, killed, loaded again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest
import yaml
from backbones import Calculator
from bench import load_potential
from bench.exceptions import BenchError
from bench.experiment.grid import make_runs, output_folder
from bench.experiment.parallel import run_single


@pytest.fixture(scope="module")
def grid(tmp_path_factory, springs, grid_of):
    path = tmp_path_factory.mktemp("data") / "own.extxyz"
    ase.io.write(path, [springs(i) for i in range(24)], format="extxyz")
    grid = grid_of(path)
    settings = grid.train.model_copy(update={"epochs": 8})
    return grid.model_copy(update={"splits": ("random",), "train": settings})


@pytest.fixture(scope="module")
def finished(grid, tmp_path_factory):
    """The folder of the grid, run in turn, and what came of it."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(grid, folder)


def run(grid, folder, **options):
    with output_folder(folder, grid):
        return make_runs(grid, folder, lambda *_: None, **options)


def test_runs_side_by_side_give_what_they_give_in_turn(grid, finished, tmp_path):
    told = []
    with output_folder(tmp_path / "two", grid) as folder:
        two = make_runs(grid, folder, lambda run, row: told.append(run.name), jobs=2)
    one = finished[1]
    assert one == two and len(one.results) == 2 and not one.failures
    assert sorted(set(told)) == ["random-mace+les-seed0", "random-mace-seed0"]
    assert len(told) == 2 * grid.train.epochs


def test_a_trained_model_predicts_what_its_run_wrote(finished, tmp_path):
    place = finished[0] / "random-mace+les-seed0"
    atoms = ase.io.read(place / "predictions.extxyz", -1)
    told = atoms.calc.results
    atoms.calc = Calculator(load_potential(place), total_charge=0.0)
    # float32, on structures of five atoms and in another batch.
    np.testing.assert_allclose(atoms.get_potential_energy(), told["energy"], atol=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), told["forces"], atol=1e-4)
    with pytest.raises(BenchError, match="holds no finished run"):
        load_potential(tmp_path)


def test_a_mistake_of_ours_is_told_and_the_run_tried_again(grid, tmp_path, monkeypatch):
    from bench.experiment import train_and_test as module

    def broken(*_, **__):
        raise FloatingPointError("no such luck")

    grid = grid.model_copy(update={"long_range": ("les",)})
    monkeypatch.setattr(module, "train", broken)
    outcome = run(grid, tmp_path / "out")
    reason = outcome.failures["random-mace+les-seed0"]
    assert reason == "FloatingPointError: no such luck"
    failed = tmp_path / "out" / "random-mace+les-seed0" / "failed.json"
    assert "broken" in json.loads(failed.read_text())["traceback"]
    monkeypatch.undo()
    assert not run(grid, tmp_path / "out").failures and not failed.exists()


PROGRAM = """
import sys
from bench.settings.grid import load_grid
from bench.experiment.parallel import run_single
from pathlib import Path
grid = load_grid(sys.argv[1])
print(run_single(grid, Path(sys.argv[2]), grid.runs()[1]))
"""


def test_a_killed_run_goes_on_to_the_same_bits(grid, finished, tmp_path):
    """Killed at random moments, in the middle of epochs and of writing."""
    run = grid.runs()[1]
    config, killed = tmp_path / "grid.yaml", tmp_path / "killed"
    config.write_text(yaml.safe_dump(grid.model_dump(mode="json")))
    killed.mkdir()
    rng = np.random.default_rng(0)
    last = killed / run.name / "last.npz"
    for _ in range(2):
        command = [sys.executable, "-c", PROGRAM, str(config), str(killed)]
        process = subprocess.Popen(command, start_new_session=True)
        before = last.stat().st_mtime_ns if last.exists() else 0
        while process.poll() is None:
            if last.exists() and last.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert last.exists()
    assert run_single(grid, killed, run) is None
    straight = finished[0] / run.name
    for file in ("best.npz", "last.npz", "model.npz"):
        one, two = (dict(np.load(p / file)) for p in (straight, killed / run.name))
        assert one.keys() == two.keys()
        for key in one.keys() - {"header"}:  # which holds times
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)
    one, two = ((p / "result.json").read_text() for p in (straight, killed / run.name))
    assert one == two
