"""Runs of a grid side by side, each in a process of its own."""

import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ._config import Grid, Run
from ._one_run import Failure, Workplace

_LOOK_AROUND = 0.2
"""Seconds between two looks at the processes."""


def side_by_side(
    place: Workplace,
    runs: Sequence[Run],
    tell: Callable[[Run, dict[str, Any]], None],
    jobs: int,
) -> dict[str, dict[str, Any] | Failure]:
    """What came of each run, by name.

    A process that dies takes its run with it, and nothing else.

    Args:
        place: of the grid; results are read from its folder.
        runs: to be made.
        tell: called in this process with a run and each epoch's row.
        jobs: processes at the same time.
    """
    context = multiprocessing.get_context("spawn")
    rows = context.Queue()
    waiting, working, found = list(runs), dict[str, tuple[Run, BaseProcess]](), {}
    shares = _shares(jobs)
    share_of: dict[str, set[int]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.pop(0)
                share_of[run.name] = shares.pop()
                task = (place.grid, place.folder, run, rows, share_of[run.name])
                process = context.Process(target=_attempt_and_tell, args=task)
                process.start()
                working[run.name] = run, process
            sentinels = [process.sentinel for _, process in working.values()]
            multiprocessing.connection.wait(sentinels, timeout=_LOOK_AROUND)
            _pass_on(rows, tell)
            for name, (run, process) in list(working.items()):
                if not process.is_alive():
                    found[name] = _outcome(place, run, process)
                    shares.append(share_of[name])
                    del working[name]
    finally:
        for _, process in working.values():
            process.terminate()
            process.join()
    return found


def attempt_alone(grid: Grid, folder: Path, run: Run, report=None) -> str | None:
    """Makes one run in this process; the reason if it cannot be made.

    For a process that has nothing else to do, on this machine or in a cluster.
    """
    outcome = Workplace(grid, folder).attempt(run, report or (lambda row: None))
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
    # Ctrl-C is the parent's to answer, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    attempt_alone(grid, folder, run, lambda row: rows.put((run, row)))


def _pass_on(rows: Any, tell: Callable[[Run, dict[str, Any]], None]) -> None:
    while True:
        try:
            run, row = rows.get_nowait()
        except queue.Empty:
            return
        tell(run, row)


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
