"""Runs of a grid: results, failures, folders and usable structures."""

import dataclasses

import numpy as np
import pytest
import yaml
from bench.dataset.opening import load_for_training
from bench.exceptions import BenchError
from bench.experiment.grid import execute_runs, output_folder
from bench.experiment.trainable import usable_indices
from bench.report.write import write_report


def test_finished_runs_are_kept_and_seeds_are_reproducible(small_grid, tmp_path):
    calls = []
    results = []
    for name in ("a", "b"):
        with output_folder(tmp_path / name, small_grid) as folder:
            outcome = execute_runs(small_grid, folder, lambda *x: calls.append(x))
            results.append(outcome.results)
    assert results[0] == results[1]
    assert len(calls) == 2 * 4 * 3
    with output_folder(tmp_path / "a", small_grid) as folder:
        calls.clear()
        again = execute_runs(small_grid, folder, lambda *x: calls.append(x))
    assert again == (results[0], {})
    assert [row for _, row in calls] == [None] * 4
    for result in results[0]:
        assert sum(result["sizes"].values()) == 24
    run_folder = tmp_path / "a" / "random-mace+les-seed0"
    assert {p.name for p in run_folder.iterdir()} == {
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


def test_a_failed_run_does_not_stop_the_others(small_grid, tmp_path):
    """All structures of the set are neutral, so the charge split cannot be made."""
    grid = small_grid.model_copy(
        update={"splits": ("charge", "random"), "long_range": ("none",)}
    )
    with output_folder(tmp_path / "out", grid) as folder:
        outcome = execute_runs(grid, folder, lambda *x: None)
        assert [r["run"]["split"] for r in outcome.results] == ["random"]
        assert "all are neutral" in outcome.failures["charge-mace-seed0"]
        page = write_report(folder)
    assert "charge-mace-seed0 failed: The charge split" in page.read_text()


def test_folders_in_use_or_of_other_experiments_are_rejected(small_grid, tmp_path):
    other = small_grid.model_copy(update={"seeds": (5,)})
    with (
        output_folder(tmp_path / "out", small_grid),
        pytest.raises(BenchError, match="Another process is working"),
        output_folder(tmp_path / "out", small_grid),
    ):
        pass
    run_folder = tmp_path / "out" / small_grid.runs()[0].name
    run_folder.mkdir(parents=True)
    (tmp_path / "out" / "config.yaml").write_text(
        yaml.safe_dump(small_grid.model_dump(mode="json"))
    )
    with output_folder(tmp_path / "out", other):
        pass  # no run has started
    (run_folder / "last.npz").write_bytes(b"")
    with (
        pytest.raises(
            BenchError, match=r"other settings, seeds .stored \[0\], now \[5"
        ),
        output_folder(tmp_path / "out", other),
    ):
        pass


def test_structures_of_new_elements_are_excluded_and_reported(structure_file):
    data = load_for_training(str(structure_file))

    class FixedSplit:
        def indices(self, ids):
            return np.arange(4), np.arange(4, 6), np.arange(6, 8)

    parts, excluded = usable_indices(data, FixedSplit(), "exclude")
    assert [len(p) for p in parts] == [4, 2, 2]
    assert excluded == {"structures": 0, "new_elements": {}}
    data.samples[6].structure.numbers[0] = 30
    data = dataclasses.replace(data)
    parts, excluded = usable_indices(data, FixedSplit(), "exclude")
    assert parts.test.tolist() == [7]
    assert excluded == {"structures": 1, "new_elements": {"Zn": 1}}
    with pytest.raises(BenchError, match="1 structures .* the training set lacks .Zn."):
        usable_indices(data, FixedSplit(), "error")
