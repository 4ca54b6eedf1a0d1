"""Runs all combinations of a grid and writes their results into one folder."""

import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import yaml

from bench.dataset.differences import differences
from bench.dataset.warnings import warnings_of
from bench.exceptions import BenchError
from bench.experiment.loggers import RunCallback
from bench.experiment.parallel import run_in_parallel
from bench.experiment.runner import FAILED, Failure, GridRunner, has_results
from bench.files import remove_leftovers, write_text
from bench.settings.grid import Grid, Run
from bench.settings.parsing import read_yaml

CONFIG = "config.yaml"
"""File with the settings of the grid in its output folder."""


@contextmanager
def output_folder(folder: Path, grid: Grid):
    """Locks an output folder for this process.

    The settings are written later, by `claim_folder`, once the data have been loaded.

    Args:
        folder: created if absent, and deleted again if it remains empty.
        grid: whose results it will contain.

    Raises:
        BenchError: another process uses the folder, or it contains results or
            checkpoints of other settings.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BenchError(
            f"Another process is working in {folder}: wait for it, or choose another "
            "folder with --out."
        ) from None
    try:
        remove_leftovers(folder)
        _check_settings(folder, grid)
        yield folder
    finally:
        # Before the release: afterwards another process may have locked the file.
        if is_new and not (folder / CONFIG).exists():
            _remove_if_empty(folder)
        lock.release()


def claim_folder(folder: Path, grid: Grid) -> None:
    """Writes the settings of a grid into its output folder.

    Failures of other settings are deleted. Split files remain: each run recomputes its
    own and uses one from the user.

    Args:
        folder: from `output_folder`.
        grid: its settings.

    Raises:
        BenchError: the folder contains results or checkpoints of other settings.
    """
    if not _check_settings(folder, grid):
        for path in folder.glob(f"*/{FAILED}"):
            path.unlink()
    values = grid.model_dump(mode="json")
    write_text(folder / CONFIG, yaml.safe_dump(values, sort_keys=False))


def _check_settings(folder: Path, grid: Grid) -> bool:
    """Returns whether a folder has the settings of a grid, or none.

    Raises:
        BenchError: it contains results or checkpoints of other settings.
    """
    path = folder / CONFIG
    if not path.exists():
        return True
    current = grid.model_dump(mode="json")
    used = any(has_results(run_folder) for run_folder in folder.iterdir())
    try:
        stored = read_yaml(path)
    except BenchError:
        if not used:
            return False
        raise
    if stored == current or not used:
        return stored == current
    changes = differences(stored if isinstance(stored, dict) else {}, current)
    raise BenchError(
        f"{folder} holds an experiment with other settings, {changes}: choose another "
        "folder with --out, or delete that one."
    )


def _remove_if_empty(folder: Path) -> None:
    """Deletes a folder that contains only the lock file."""
    if {path.name for path in folder.iterdir()} <= {".lock"}:
        (folder / ".lock").unlink(missing_ok=True)
        folder.rmdir()


class Outcome(NamedTuple):
    """Results and failures of the runs of a grid."""

    results: list[dict[str, Any]]
    """Content of `result.json` of each finished run."""
    failures: dict[str, str]
    """Reasons of the failures, by name of the run."""


def unfinished_runs(grid: Grid, folder: Path) -> list[Run]:
    """Returns the runs of a grid that have no result yet.

    Args:
        grid: settings.
        folder: from `output_folder`.

    Raises:
        BenchError: the data cannot be used, or results belong to other data.
    """
    runner = GridRunner(grid, folder)
    claim_folder(folder, grid)
    return [run for run in grid.runs() if runner.finished_result(run) is None]


def execute_runs(
    grid: Grid,
    folder: Path,
    callback: RunCallback,
    jobs: int = 1,
    warn: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Trains and tests every run of a grid that is not finished yet.

    A run that fails does not stop the others; the next call repeats it.

    Args:
        grid: settings.
        folder: from `output_folder`.
        callback: see `RunCallback`.
        jobs: number of runs at the same time; with more than one, each has a process.
        warn: called with one line for each likely error in the data.
    """
    runner = GridRunner(grid, folder)
    claim_folder(folder, grid)
    for line in warnings_of(runner.data, split_at_random="random" in grid.splits):
        warn(line)
    outcomes: dict[str, dict[str, Any] | Failure] = {}
    waiting = []
    for run in grid.runs():
        result = runner.finished_result(run)
        if result is None:
            waiting.append(run)
        else:
            outcomes[run.name] = result
            callback(run, None)
    if jobs > 1:
        outcomes |= run_in_parallel(runner, waiting, callback, jobs)
    else:
        for run in waiting:
            outcomes[run.name] = runner.run_one(
                run, lambda row, run=run: callback(run, row)
            )
    ordered = {run.name: outcomes[run.name] for run in grid.runs()}
    return Outcome(
        [x for x in ordered.values() if not isinstance(x, Failure)],
        {name: x.reason for name, x in ordered.items() if isinstance(x, Failure)},
    )


def run_grid(
    grid: Grid,
    folder: str | os.PathLike,
    *,
    jobs: int = 1,
    callback: RunCallback = lambda run, row: None,
    warn: Callable[[str], None] = warnings.warn,
) -> Outcome:
    """Trains and tests every run of a grid; resumes where an earlier call stopped.

    A run that fails does not stop the others: its reason is in the outcome.

    Args:
        grid: from `load_grid`.
        folder: of the results; created if absent. The same folder with the same grid
            resumes, with another grid is an error.
        jobs: number of runs at the same time, each in its own process. With more than
            one, scripts need an `if __name__ == "__main__":` guard.
        callback: called with a run and its row of errors after each epoch, and with a
            run and None if the run was finished before.
        warn: called with one line for each likely error in the data.

    Returns:
        Results of the finished runs, as `read_results` returns them, and the reasons of
        the failures by name of the run.

    Raises:
        BenchError: the data cannot be used, or the folder belongs to another grid or is
            in use by another process.

    Examples:
        >>> grid = bench.load_grid("mine.yaml", ["train.epochs=2"])
        >>> outcome = bench.run_grid(grid, "runs/mine")
        >>> for result in outcome.results:
        ...     print(result["model"], result["errors"]["test"]["force_mae"], "meV/Å")
    """
    with output_folder(Path(folder), grid) as path:
        return execute_runs(grid, path, callback, jobs, warn)
