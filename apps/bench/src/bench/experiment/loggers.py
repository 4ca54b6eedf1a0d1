"""Rows of epochs for TensorBoard and for Weights & Biases, besides CSV and JSONL."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.exceptions import BenchError
from bench.execution.callback import Callback
from bench.settings.grid import Run

RunCallback = Callback[Run, dict[str, Any] | None]
"""Called with a run and the metrics of each of its epochs.

The metrics are None, once, for a run that was finished before.
"""


class TensorBoard:
    """A folder of event files, one a run.

    Raises:
        BenchError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboardX import (  # pyright: ignore[reportMissingImports]
                SummaryWriter,
            )
        except ImportError as error:
            raise _missing("tensorboard", "tensorboardX") from error
        self._open = lambda run: SummaryWriter(str(folder / "tensorboard" / run.name))
        self._writers: dict[str, Any] = {}

    def log(self, run: Run, row: dict[str, Any]) -> None:
        """Writes the numbers of an epoch."""
        if run.name not in self._writers:
            self._writers[run.name] = self._open(run)
        for name, value in _numbers(row).items():
            self._writers[run.name].add_scalar(name, value, row["epoch"])

    def close(self) -> None:
        """Writes what is left."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """A project named after the experiment's folder, with its runs.

    Raises:
        BenchError: wandb is not installed.
    """

    def __init__(self, folder: Path):
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise _missing("wandb", "wandb") from error
        self._wandb, self._folder = wandb, folder
        self._runs: dict[str, Any] = {}

    def log(self, run: Run, row: dict[str, Any]) -> None:
        """Sends the numbers of an epoch; a run that is taken up again goes on."""
        if run.name not in self._runs:
            self._runs[run.name] = self._wandb.init(
                project=f"bench-{self._folder.name}",
                name=run.name,
                # The same name again is the same run, whichever process sends it.
                id=run.name.replace("+", "-"),
                resume="allow",
                reinit="create_new",
                dir=str(self._folder),
                config=dataclasses.asdict(run),
            )
        self._runs[run.name].log(_numbers(row), step=row["epoch"])

    def close(self) -> None:
        """Ends the runs."""
        for run in self._runs.values():
            run.finish()


BOARDS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


@contextlib.contextmanager
def log_to(
    names: Sequence[str], folder: Path, callback: RunCallback
) -> Iterator[RunCallback]:
    """Yields a callback that calls `callback` and logs every epoch.

    Args:
        names: keys of `BOARDS`.
        folder: of the experiment.
        callback: called before the loggers.

    Raises:
        BenchError: a name is unknown, or its library is not installed.
    """
    for name in names:
        if name not in BOARDS:
            raise BenchError(
                f"Epochs can be logged to {' or '.join(BOARDS)}, not to {name!r}."
            )
    boards = [BOARDS[name](folder) for name in names]

    def call_and_log(run: Run, row: dict[str, Any] | None) -> None:
        callback(run, row)
        if row is not None:
            for board in boards:
                board.log(run, row)

    try:
        yield call_and_log
    finally:
        for board in boards:
            board.close()


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in row.items() if isinstance(v, int | float) and k != "epoch"}


def _missing(extra: str, package: str) -> BenchError:
    return BenchError(
        f"Logging to {extra} needs {package}: install bench with the extra `{extra}`; "
        "metrics.csv and metrics.jsonl of every run are written anyway."
    )
