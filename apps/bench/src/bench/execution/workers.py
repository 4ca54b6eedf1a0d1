"""Reading in processes of their own, which a damaged file may end without harm."""

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
"""Formats that native code reads from mapped memory: a damaged file can end the process
that reads it, so that it is never the one that has something to lose."""


def run(
    work: Callable[[Any], Any], tasks: Sequence[Any], workers: int
) -> Iterator[tuple[int, Any]]:
    """Results as they come, with the place of their task.

    Args:
        work: a function of a module, called with each task.
        tasks: values that can be sent to another process.
        workers: processes; 0 works in this one.

    Raises:
        BenchError: a process ended without a word, or what `work` raises.
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
            "A process that read the data ended without a word, as a damaged file or "
            "too little memory makes it: fetch the files again; with --workers 1 and "
            "one file at a time the damaged one is found."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool(concurrent.futures.ProcessPoolExecutor):
    """Fresh processes, for a copy of one with threads may hang, that serve this one.

    Args:
        workers: how many at most.
    """

    def __init__(self, workers: int):
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, initializer=exit_with_parent)

    def submit(self, fn, /, *args, **kwargs):
        """Hands a call to a process, which may be started for it."""
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
    # Its start would let interrupts through again.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_with_parent() -> None:
    """Leaves Ctrl-C to the process that knows what to keep, and ends when it does.

    A parent that is killed cannot end its children; no file suffers, since all are
    written beside their names first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
