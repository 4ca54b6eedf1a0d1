"""Runs a grid: every combination once, each in a folder of its own."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import yaml

from ._config import Grid, Run
from ._errors import BenchError
from ._jobs import side_by_side
from ._one_run import Failure, Workplace
from ._text_files import read_yaml
from ._writing import write_text


@contextmanager
def output_folder(folder: Path, grid: Grid):
    """Holds an output folder for one process and one experiment.

    Raises:
        BenchError: another process works in it, or it belongs to another experiment.
    """
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
        config = folder / "config.yaml"
        values = grid.model_dump(mode="json")
        if config.exists() and read_yaml(config) != values:
            raise BenchError(
                f"{folder} holds an experiment with other settings: choose another "
                "folder with --out, or delete that one."
            )
        write_text(config, yaml.safe_dump(values, sort_keys=False))
        yield folder
    finally:
        lock.release()


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
    return [run for run in grid.runs() if place.finished(run) is None]


def run_grid(
    grid: Grid,
    folder: Path,
    tell: Callable[[Run, dict[str, Any] | None], None],
    jobs: int = 1,
) -> Outcome:
    """Trains and tests every run of a grid that is not finished yet.

    A run that fails says why in `failed.json`, and the others go on; it is tried again
    when the grid is run again.

    Args:
        grid: what to run.
        folder: from `output_folder`.
        tell: called with a run and each epoch's row, and with None when it is skipped.
        jobs: how many runs are made at the same time, each in a process of its own.
    """
    place = Workplace(grid, folder)
    found: dict[str, dict[str, Any] | Failure] = {}
    waiting = []
    for run in grid.runs():
        result = place.finished(run)
        if result is None:
            waiting.append(run)
        else:
            found[run.name] = result
            tell(run, None)
    if jobs > 1:
        found |= side_by_side(place, waiting, tell, jobs)
    else:
        for run in waiting:
            found[run.name] = place.attempt(run, lambda row, run=run: tell(run, row))
    every = [(run.name, found[run.name]) for run in grid.runs()]
    return Outcome(
        [result for _, result in every if not isinstance(result, Failure)],
        {name: x.reason for name, x in every if isinstance(x, Failure)},
    )
