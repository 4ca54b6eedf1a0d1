"""Logs the metrics of epochs to TensorBoard and to Weights & Biases."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.exceptions import BenchError
from bench.execution.callback import Callback
from bench.settings.choices import LoggerName
from bench.settings.grid import Run

RunCallback = Callback[Run, dict[str, Any] | None]
"""Called with a run and the metrics of each of its epochs.

The metrics are None, once, for a run that was finished before.
"""


class TensorBoard:
    """Writes TensorBoard event files, one subfolder per run.

    Args:
        folder: of the experiment.

    Raises:
        BenchError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboardX import (  # pyright: ignore[reportMissingImports]
                SummaryWriter,
            )
        except ImportError as error:
            raise _missing_error("tensorboard", "tensorboardX") from error
        self._open = lambda run: SummaryWriter(str(folder / "tensorboard" / run.name))
        self._writers: dict[str, Any] = {}

    def log(self, run: Run, row: dict[str, Any]) -> None:
        """Writes the metrics of an epoch.

        Args:
            run: of the grid.
            row: metrics by name.
        """
        if run.name not in self._writers:
            self._writers[run.name] = self._open(run)
        for name, value in _scalars(row).items():
            self._writers[run.name].add_scalar(name, value, row["epoch"])

    def close(self) -> None:
        """Closes the event files."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """Sends metrics to a Weights & Biases project named after the folder.

    Args:
        folder: of the experiment.

    Raises:
        BenchError: wandb is not installed.
    """

    def __init__(self, folder: Path):
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise _missing_error("wandb", "wandb") from error
        self._wandb, self._folder = wandb, folder
        self._runs: dict[str, Any] = {}

    def log(self, run: Run, row: dict[str, Any]) -> None:
        """Sends the metrics of an epoch; an interrupted run is resumed.

        Args:
            run: of the grid.
            row: metrics by name.
        """
        if run.name not in self._runs:
            self._runs[run.name] = self._wandb.init(
                project=f"bench-{self._folder.name}",
                name=run.name,
                # A resumed run must have the same id in another process.
                id=run.name.replace("+", "-"),
                resume="allow",
                reinit="create_new",
                dir=str(self._folder),
                config=dataclasses.asdict(run),
            )
        self._runs[run.name].log(_scalars(row), step=row["epoch"])

    def close(self) -> None:
        """Marks the runs as finished."""
        for run in self._runs.values():
            run.finish()


LOGGERS = {
    LoggerName.TENSORBOARD: TensorBoard,
    LoggerName.WANDB: WeightsAndBiases,
}


@contextlib.contextmanager
def log_to(
    names: Sequence[LoggerName], folder: Path, callback: RunCallback
) -> Iterator[RunCallback]:
    """Yields a callback that calls `callback` and logs every epoch.

    Args:
        names: keys of `LOGGERS`.
        folder: of the experiment.
        callback: called before the loggers.

    Raises:
        BenchError: the library of a logger is not installed.
    """
    loggers = [LOGGERS[name](folder) for name in names]

    def call_and_log(run: Run, row: dict[str, Any] | None) -> None:
        callback(run, row)
        if row is not None:
            for logger in loggers:
                logger.log(run, row)

    try:
        yield call_and_log
    finally:
        for logger in loggers:
            logger.close()


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in row.items() if isinstance(v, int | float) and k != "epoch"}


def _missing_error(extra: str, package: str) -> BenchError:
    return BenchError(
        f"Logging to {extra} needs {package}: install bench with the extra `{extra}`; "
        "metrics.csv and metrics.jsonl of every run are written anyway."
    )
