"""Worker processes, which a damaged file may crash without harm to the main one."""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

from bench.exceptions import BenchError

CRASH_PRONE_FORMATS = ("aselmdb", "hdf5")
"""Formats read by native code from mapped memory: a damaged file can crash the process
that reads it, so they are always read in a worker process."""


def run_tasks(
    work: Callable[[Any], Any], tasks: Sequence[Any], workers: int
) -> Iterator[tuple[int, Any]]:
    """Yields the index and the result of each task, in order of completion.

    Args:
        work: module-level function, called with each task.
        tasks: values that can be pickled.
        workers: number of processes; 0 runs the tasks in this process.

    Raises:
        BenchError: a process terminated unexpectedly, or an error of `work`.
    """
    if workers == 0 or not tasks:
        yield from enumerate(map(work, tasks))
        return
    pool = Pool(min(workers, len(tasks)))
    try:
        futures = {pool.submit(work, task): i for i, task in enumerate(tasks)}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise BenchError(
            "A process that read the data terminated unexpectedly, as with a damaged "
            "file or too little memory: download the files again; --workers 1 with one "
            "file at a time finds the damaged one."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def partition_cores(jobs: int) -> list[set[int]]:
    """Returns a set of processor cores for each job, so that jobs share no core.

    Sets are empty if the system cannot bind processes or has fewer cores than jobs.

    Args:
        jobs: number of processes at the same time.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[i::jobs]) for i in range(jobs)]


def start_worker(cores: set[int]) -> None:
    """Prepares a worker process, before the first computation.

    Args:
        cores: that the process may use, from `partition_cores`; empty for all.
    """
    # Before XLA starts one thread per core.
    if cores:
        os.sched_setaffinity(0, cores)
    exit_with_parent()


class Pool(concurrent.futures.ProcessPoolExecutor):
    """A pool of spawned processes that exit with their parent.

    Spawned, because a forked copy of a process with threads may deadlock.

    Args:
        workers: largest number of processes.
    """

    def __init__(self, workers: int):
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, initializer=exit_with_parent)

    def submit(self, fn, /, *args, **kwargs):
        """Submits a call, which may start a process."""
        with block_interrupts():
            return super().submit(fn, *args, **kwargs)


@contextlib.contextmanager
def block_interrupts() -> Iterator[None]:
    """Delays Ctrl-C to the end of the block; processes started in it ignore it.

    They import for seconds before they call `exit_with_parent`; an interrupt in that
    time would make each print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started now, because its start unblocks interrupts.
    multiprocessing.resource_tracker.ensure_running()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def exit_with_parent() -> None:
    """Makes this worker process ignore Ctrl-C and exit when its parent exits.

    A parent that is killed cannot terminate its workers. No file is damaged, because
    files are written atomically.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
