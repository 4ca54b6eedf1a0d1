"""Runs of a grid one by one, each with its split and results in its own folder."""

import contextlib
import json
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import filelock
from chemsplit import Split
from scipy.sparse import csr_matrix

from bench.batches.loading import BatchedDataset
from bench.dataset.opening import Dataset, load_for_training
from bench.dataset.provenance import (
    PROVENANCE_KEY,
    check_provenance,
    provenance,
    stored_device_count,
)
from bench.evaluation.run_files import read_failure_reason, read_result
from bench.exceptions import BenchError, one_line
from bench.execution.announcements import announce
from bench.execution.hosts import is_main_process, wait_for_all
from bench.experiment.descriptors import stored_descriptors
from bench.experiment.splits import split_data
from bench.experiment.train_and_test import (
    RESULT,
    batch_for_model,
    run_provenance,
    train_and_test,
)
from bench.files import write_error, write_text
from bench.model.checking import check_models
from bench.settings.grid import Grid, Run
from bench.training.checkpoint import BEST, LAST, Checkpoints
from bench.training.loop import EpochCallback

SPLIT, FAILED = "split.json", "failed.json"
"""Files of a run: its split, and the reason of a failure."""


class Failure(NamedTuple):
    """The reason why a run has no result."""

    reason: str


class GridRunner:
    """Trains and tests runs of a grid; loads and batches the data once per process.

    Args:
        grid: settings of the runs.
        folder: of the results, with one subfolder per run.

    Raises:
        BenchError: a model cannot be built, or the data cannot be used.
    """

    def __init__(self, grid: Grid, folder: Path):
        self.grid = grid
        self.folder = folder
        check_models(grid)
        announce(f"reading {grid.dataset}")
        self.data = load_for_training(grid.dataset)
        self._batched: dict[tuple[str, str], BatchedDataset] = {}

    def finished_result(self, run: Run) -> dict[str, Any] | None:
        """Returns the result of a finished run, None if the run is not finished.

        Raises:
            BenchError: the result is from other data, another split or other settings.
        """
        folder = self.folder / run.name
        path = folder / RESULT
        if not path.exists():
            return None
        result = read_result(folder)
        stored = result.get(PROVENANCE_KEY)
        # A result remains valid on another number of devices.
        devices = stored_device_count(stored)
        current = provenance(self.grid, run, self.data, _load_split(folder), devices)
        remedy = (
            "restore the earlier ones, choose another folder with --out, or delete "
            f"{folder}"
        )
        check_provenance(str(path), stored, current, remedy)
        return result

    def failure_reason(self, run: Run) -> str | None:
        """Returns why the last attempt of a run failed, None if it did not."""
        folder = self.folder / run.name
        return read_failure_reason(folder) if (folder / FAILED).exists() else None

    def run_one(self, run: Run, callback: EpochCallback) -> dict[str, Any] | Failure:
        """Trains and tests a run, or resumes it from its last checkpoint.

        The reason of a failure is written to `failed.json`.

        Args:
            run: of the grid.
            callback: called with the metrics of each epoch.

        Returns:
            The result, as written to `result.json`, or the failure.
        """
        folder = self.folder / run.name
        folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        try:
            with lock if is_main_process() else contextlib.nullcontext():
                if is_main_process():
                    (folder / FAILED).unlink(missing_ok=True)
                return self._train_and_test(run, folder, callback)
        except filelock.Timeout:
            return Failure(f"another process is working in {folder}")
        except Exception as error:
            reason = _reason(error)
            if is_main_process():
                _write_failure(folder, reason, error)
            return Failure(reason)

    def _train_and_test(
        self, run: Run, folder: Path, callback: EpochCallback
    ) -> dict[str, Any]:
        if is_main_process():
            announce(f"{run.name}: splitting, batching, compiling")
        split = self._split(run)
        # First, since the data may have changed and not contain the split's ids.
        made_from = run_provenance(self.grid, run, self.data, split)
        Checkpoints(folder, made_from).check()
        architecture = run.backbone, run.long_range
        if architecture not in self._batched:
            self._batched[architecture] = batch_for_model(self.grid, run, self.data)
        batched = self._batched[architecture]
        return train_and_test(self.grid, run, batched, split, folder, callback)

    def _split(self, run: Run) -> Split:
        """Returns the split of a run; computes it unless there is one to keep."""
        folder = self.folder / run.name
        path = folder / SPLIT
        try:
            if is_main_process() and not (path.exists() and _keeps_split(run, folder)):
                settings, seed = self.grid.split, run.seed
                split = split_data(
                    self.data, run.split, settings, seed, self._descriptors
                )
                split.save(path)
            wait_for_all("the split")
            return Split.load(path)
        except ValueError as error:
            raise BenchError(str(error)) from error

    def _descriptors(self, data: Dataset) -> csr_matrix:
        # They take minutes: processes wait until one has stored them.
        with filelock.FileLock(self.folder / ".descriptors.lock"):
            return stored_descriptors(data, self.folder, self.grid.split.descriptor)


def has_results(folder: Path) -> bool:
    """Returns whether the folder of a run contains a result or a checkpoint.

    Args:
        folder: of the run.
    """
    return any((folder / name).exists() for name in (RESULT, LAST, BEST))


def _keeps_split(run: Run, folder: Path) -> bool:
    """Returns whether the split file of a run is kept.

    A split of bench without a checkpoint is computed again, since data or settings may
    have changed. A split from the user is kept.
    """
    split = Split.load(folder / SPLIT)
    # Splits of chemsplit's own commands have names and seeds too.
    is_from_bench = "test_fraction" in split.settings
    is_from_run = is_from_bench and (split.name, split.seed) == (run.split, run.seed)
    return has_results(folder) or not is_from_run


def _load_split(folder: Path) -> Split:
    try:
        return Split.load(folder / SPLIT)
    except FileNotFoundError as error:
        raise BenchError(
            f"{folder / SPLIT} is missing, though the run is finished: restore it, or "
            f"delete {folder} to make the run again."
        ) from error
    except ValueError as error:
        raise BenchError(str(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, BenchError):
        return str(error)
    return f"{type(error).__name__}: {one_line(error)}"


def _write_failure(folder: Path, reason: str, error: Exception) -> None:
    """Writes the reason of a failure, with a traceback unless it is an input error."""
    content = {"reason": reason}
    if not isinstance(error, BenchError) or error.__cause__ is not None:
        content["traceback"] = traceback.format_exc()
    try:
        write_text(folder / FAILED, json.dumps(content, indent=1))
    except OSError as write_failure:
        raise write_error(folder, write_failure) from error
