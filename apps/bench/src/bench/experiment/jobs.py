"""Runs of a grid side by side, each in a process of its own."""

import multiprocessing
import multiprocessing.connection
import os
import queue
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.execution.announcements import announce
from bench.execution.workers import block_interrupts, exit_with_parent
from bench.experiment.loggers import RunCallback
from bench.experiment.run import Failure, Workplace
from bench.settings.grid import Grid, Run
from bench.training.loop import EpochCallback

_LOOK_AROUND = 0.2
"""Seconds between two looks at the processes."""


def side_by_side(
    place: Workplace,
    runs: Sequence[Run],
    callback: RunCallback,
    jobs: int,
) -> dict[str, dict[str, Any] | Failure]:
    """What came of each run, by name.

    A process that dies takes its run with it, and nothing else.

    Args:
        place: of the grid; results are read from its folder.
        runs: to be made.
        callback: called in this process; see `RunCallback`.
        jobs: processes at the same time.
    """
    context = multiprocessing.get_context("spawn")
    rows = context.Queue()
    waiting, shares, found = list(runs), _shares(jobs), {}
    working: list[tuple[Run, BaseProcess, set[int]]] = []
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run, cores = waiting.pop(0), shares.pop()
                task = (place.grid, place.folder, run, rows, cores)
                process = context.Process(target=_attempt_and_tell, args=task)
                with block_interrupts():
                    process.start()
                working.append((run, process, cores))
                announce(f"{run.name}: started in a process of its own")
            sentinels = [process.sentinel for _, process, _ in working]
            multiprocessing.connection.wait(sentinels, timeout=_LOOK_AROUND)
            _pass_on(rows, callback)
            for one in [one for one in working if not one[1].is_alive()]:
                run, process, cores = one
                found[run.name] = _outcome(place, run, process)
                shares.append(cores)
                working.remove(one)
        _pass_on(rows, callback)  # of the last process, since the last look
    finally:
        for _, process, _ in working:
            process.terminate()
            process.join()
    return found


def attempt_alone(
    grid: Grid, folder: Path, run: Run, callback: EpochCallback | None = None
) -> str | None:
    """Makes one run in this process; the reason if it cannot be made.

    For a process that has nothing else to do, on this machine or in a cluster.
    """
    outcome = Workplace(grid, folder).attempt(run, callback or (lambda row: None))
    return outcome.reason if isinstance(outcome, Failure) else None


def _shares(jobs: int) -> list[set[int]]:
    """Processor cores for each job, so that no threads of two jobs want the same one.

    Empty where the system cannot bind processes, or there are fewer cores than jobs.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[i::jobs]) for i in range(jobs)]


def _attempt_and_tell(
    grid: Grid, folder: Path, run: Run, rows: Any, cores: set[int]
) -> None:
    # Before the first computation, which starts a thread a core.
    if cores:
        os.sched_setaffinity(0, cores)
    exit_with_parent()
    attempt_alone(grid, folder, run, lambda row: rows.put((run, row)))


def _pass_on(rows: Any, callback: RunCallback) -> None:
    while True:
        try:
            run, row = rows.get_nowait()
        except queue.Empty:
            return
        callback(run, row)


def _outcome(place: Workplace, run: Run, process: BaseProcess):
    """The result that a process left, or why there is none."""
    result = place.finished(run)
    if result is not None:
        return result
    return Failure(
        place.reason(run)
        or f"its process ended with status {process.exitcode} and no word, as too "
        "little memory makes it: run fewer --jobs, or smaller batches."
    )
