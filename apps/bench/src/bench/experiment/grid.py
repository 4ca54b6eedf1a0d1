"""Runs a grid: every combination once, each in a folder of its own."""

import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import yaml

from bench.dataset.provenance import differences
from bench.dataset.warnings import warnings_of
from bench.exceptions import BenchError
from bench.experiment.jobs import side_by_side
from bench.experiment.loggers import RunCallback
from bench.experiment.run import FAILED, Failure, Workplace, is_begun
from bench.files import remove_leftovers, write_text
from bench.settings.grid import Grid, Run
from bench.settings.parsing import read_yaml

CONFIG = "config.yaml"
"""The settings of the experiment that a folder holds."""


@contextmanager
def output_folder(folder: Path, grid: Grid):
    """Holds an output folder for one process and one experiment.

    Nothing is written into it before the data are open: see `claim`.

    Raises:
        BenchError: another process works in it, or it holds results or checkpoints of
            other settings.
    """
    fresh = not folder.exists()
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
        # Still locked, or the file of a process that locks it next would go.
        if fresh and not (folder / CONFIG).exists():
            _remove_if_empty(folder)
        lock.release()


def claim(folder: Path, grid: Grid) -> None:
    """Makes a folder that of a grid, once its data are known to open.

    Reasons why runs of other settings came to nothing are taken away. Splits stay: a
    run makes its own again, and one that somebody put there is used.

    Args:
        folder: from `output_folder`.
        grid: what to run.

    Raises:
        BenchError: it holds results or checkpoints of other settings.
    """
    if not _check_settings(folder, grid):
        for path in folder.glob(f"*/{FAILED}"):
            path.unlink()
    values = grid.model_dump(mode="json")
    write_text(folder / CONFIG, yaml.safe_dump(values, sort_keys=False))


def _check_settings(folder: Path, grid: Grid) -> bool:
    """Whether a folder is that of a grid; an error if it holds another's results."""
    path = folder / CONFIG
    if not path.exists():
        return True
    here = grid.model_dump(mode="json")
    begun = any(is_begun(place) for place in folder.iterdir())
    try:
        there = read_yaml(path)
    except BenchError:
        if not begun:
            return False
        raise
    if there == here or not begun:
        return there == here
    shown = differences(there if isinstance(there, dict) else {}, here)
    raise BenchError(
        f"{folder} holds an experiment with other settings, {shown}: choose another "
        "folder with --out, or delete that one."
    )


def _remove_if_empty(folder: Path) -> None:
    """Takes away a folder in which nothing was begun."""
    if {path.name for path in folder.iterdir()} <= {".lock"}:
        (folder / ".lock").unlink(missing_ok=True)
        folder.rmdir()


class Outcome(NamedTuple):
    """What came of a grid."""

    results: list[dict[str, Any]]
    """Of every run that finished, as written to its `result.json`."""
    failures: dict[str, str]
    """Why the others did not, by name."""


def unfinished(grid: Grid, folder: Path) -> list[Run]:
    """The runs of a grid that have no result yet.

    Raises:
        BenchError: the data cannot be used, or results belong to other data.
    """
    place = Workplace(grid, folder)
    claim(folder, grid)
    return [run for run in grid.runs() if place.finished(run) is None]


def make_runs(
    grid: Grid,
    folder: Path,
    callback: RunCallback,
    jobs: int = 1,
    warn: Callable[[str], None] = lambda sentence: None,
) -> Outcome:
    """Trains and tests every run of a grid that is not finished yet.

    A run that fails says why in `failed.json`, and the others go on; it is tried again
    when the grid is run again.

    Args:
        grid: what to run.
        folder: from `output_folder`.
        callback: see `RunCallback`.
        jobs: how many runs are made at the same time, each in a process of its own.
        warn: called with each likely mistake in the data.
    """
    place = Workplace(grid, folder)
    claim(folder, grid)
    for sentence in warnings_of(place.data, split_at_random="random" in grid.splits):
        warn(sentence)
    found: dict[str, dict[str, Any] | Failure] = {}
    waiting = []
    for run in grid.runs():
        result = place.finished(run)
        if result is None:
            waiting.append(run)
        else:
            found[run.name] = result
            callback(run, None)
    if jobs > 1:
        found |= side_by_side(place, waiting, callback, jobs)
    else:
        for run in waiting:
            found[run.name] = place.attempt(
                run, lambda row, run=run: callback(run, row)
            )
    every = [(run.name, found[run.name]) for run in grid.runs()]
    return Outcome(
        [result for _, result in every if not isinstance(result, Failure)],
        {name: x.reason for name, x in every if isinstance(x, Failure)},
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
        return make_runs(grid, path, callback, jobs, warn)
