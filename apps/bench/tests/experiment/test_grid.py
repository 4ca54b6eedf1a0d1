"""Grids of runs: in parallel, interrupted, and models loaded again."""

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
from bench.experiment.grid import execute_runs, output_folder
from bench.experiment.parallel import run_single


@pytest.fixture(scope="module")
def grid(tmp_path_factory, toy_structure, grid_of):
    path = tmp_path_factory.mktemp("data") / "own.extxyz"
    ase.io.write(path, [toy_structure(i) for i in range(24)], format="extxyz")
    grid = grid_of(path)
    settings = grid.train.model_copy(update={"epochs": 8})
    return grid.model_copy(update={"splits": ("random",), "train": settings})


@pytest.fixture(scope="module")
def finished(grid, tmp_path_factory):
    """Returns the folder and the outcome of a grid, one run after the other."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(grid, folder)


def run(grid, folder, **options):
    with output_folder(folder, grid):
        return execute_runs(grid, folder, lambda *_: None, **options)


def test_parallel_runs_give_the_same_results(grid, finished, tmp_path):
    run_names = []
    with output_folder(tmp_path / "two", grid) as folder:
        parallel = execute_runs(
            grid, folder, lambda run, row: run_names.append(run.name), jobs=2
        )
    serial = finished[1]
    assert serial == parallel and len(serial.results) == 2 and not serial.failures
    assert sorted(set(run_names)) == ["random-mace+les-seed0", "random-mace-seed0"]
    assert len(run_names) == 2 * grid.train.epochs


def test_loaded_model_reproduces_written_predictions(finished, tmp_path):
    folder = finished[0] / "random-mace+les-seed0"
    atoms = ase.io.read(folder / "predictions.extxyz", -1)
    written = atoms.calc.results
    atoms.calc = Calculator(load_potential(folder), total_charge=0.0)
    # float32, in a batch of another size.
    np.testing.assert_allclose(
        atoms.get_potential_energy(), written["energy"], atol=1e-4
    )
    np.testing.assert_allclose(atoms.get_forces(), written["forces"], atol=1e-4)
    with pytest.raises(BenchError, match="not the folder of a finished run"):
        load_potential(tmp_path)


def test_unexpected_error_is_reported_and_the_run_repeated(grid, tmp_path, monkeypatch):
    from bench.experiment import train_and_test as module

    def broken(*_, **__):
        raise FloatingPointError("test failure")

    grid = grid.model_copy(update={"long_range": ("les",)})
    monkeypatch.setattr(module, "train", broken)
    outcome = run(grid, tmp_path / "out")
    reason = outcome.failures["random-mace+les-seed0"]
    assert reason == "FloatingPointError: test failure"
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


def test_killed_run_resumes_bit_identically(grid, finished, tmp_path):
    """Killed at random times, during epochs and while writing."""
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
    uninterrupted = finished[0] / run.name
    for file in ("best.npz", "last.npz", "model.npz"):
        one, two = (dict(np.load(p / file)) for p in (uninterrupted, killed / run.name))
        assert one.keys() == two.keys()
        for key in one.keys() - {"header"}:  # contains times
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)
    one, two = (
        (p / "result.json").read_text() for p in (uninterrupted, killed / run.name)
    )
    assert one == two
