"""Runs of a grid in parallel processes."""

import multiprocessing
import multiprocessing.connection
import queue
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from bench.execution.announcements import announce
from bench.execution.workers import block_interrupts, partition_cores, start_worker
from bench.experiment.loggers import RunCallback
from bench.experiment.runner import Failure, GridRunner
from bench.settings.grid import Grid, Run
from bench.training.loop import EpochCallback

_POLL_SECONDS = 0.2
"""Longest time between two reads of the metrics."""


class _Worker(NamedTuple):
    """A process that trains one run."""

    run: Run
    process: BaseProcess
    cores: set[int]


def run_in_parallel(
    runner: GridRunner,
    runs: Sequence[Run],
    callback: RunCallback,
    jobs: int,
) -> dict[str, dict[str, Any] | Failure]:
    """Trains and tests runs, each in its own process.

    If a process crashes, only its run fails.

    Args:
        runner: of the grid; each process loads the data again.
        runs: to train and test.
        callback: called in this process with a run and the metrics of an epoch.
        jobs: number of processes at the same time.

    Returns:
        The result or failure of each run, by name.
    """
    context = multiprocessing.get_context("spawn")
    metrics = context.Queue()
    waiting, free_cores, outcomes = list(runs), partition_cores(jobs), {}
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                run, cores = waiting.pop(0), free_cores.pop()
                arguments = (runner.grid, runner.folder, run, metrics, cores)
                process = context.Process(target=_work, args=arguments)
                with block_interrupts():
                    process.start()
                workers.append(_Worker(run, process, cores))
                announce(f"{run.name}: started in its own process")
            sentinels = [worker.process.sentinel for worker in workers]
            multiprocessing.connection.wait(sentinels, timeout=_POLL_SECONDS)
            _forward(metrics, callback)
            for worker in [w for w in workers if not w.process.is_alive()]:
                outcomes[worker.run.name] = _outcome(runner, worker)
                free_cores.append(worker.cores)
                workers.remove(worker)
        _forward(metrics, callback)  # what the last process sent before it ended
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
    return outcomes


def run_single(
    grid: Grid, folder: Path, run: Run, callback: EpochCallback | None = None
) -> str | None:
    """Trains and tests one run in this process, for example in a cluster job.

    Args:
        grid: settings.
        folder: of the results.
        run: of the grid.
        callback: called with the metrics of each epoch; None ignores them.

    Returns:
        The reason of a failure; None if the run has a result.
    """
    outcome = GridRunner(grid, folder).run_one(run, callback or (lambda row: None))
    return outcome.reason if isinstance(outcome, Failure) else None


def _work(grid: Grid, folder: Path, run: Run, metrics: Any, cores: set[int]) -> None:
    start_worker(cores)
    run_single(grid, folder, run, lambda row: metrics.put((run, row)))


def _forward(metrics: Any, callback: RunCallback) -> None:
    """Calls a callback with all metrics in a queue."""
    while True:
        try:
            run, row = metrics.get_nowait()
        except queue.Empty:
            return
        callback(run, row)


def _outcome(runner: GridRunner, worker: _Worker) -> dict[str, Any] | Failure:
    result = runner.finished_result(worker.run)
    if result is not None:
        return result
    return Failure(
        runner.failure_reason(worker.run)
        or f"its process ended with status {worker.process.exitcode} without an error "
        "message, probably for lack of memory: use fewer --jobs, or smaller batches."
    )
