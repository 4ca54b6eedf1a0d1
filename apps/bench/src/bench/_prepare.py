"""From any source to a prepared data set: in parts, by several processes."""

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from ._errors import BenchError
from ._merge import check_labels, merge
from ._parts import load_tally, read_unit, save_part, total, unreadable
from ._prepared import HEADER, is_prepared, no_room, write_text
from ._recipes import Filters
from ._sources import Reading, Source, Unit, open_source

PARTS = "parts"
PLAN = "plan.json"


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be prepared.

    Args:
        source: a file, a folder or a pattern.
        reading: names and units of labels.
        filters: what is kept.
        format: where names of files do not tell it.
        strict: whether a row that cannot be used is an error.
    """

    source: str
    reading: Reading = Reading()
    filters: Filters = Filters()
    format: str | None = None
    strict: bool = False


class Shard(NamedTuple):
    """One of several jobs that prepare one source together; counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From `3/8`.

        Args:
            text: number and count.

        Raises:
            BenchError: not two whole numbers, or the first is not among the second.
        """
        number, _, of = text.partition("/")
        if number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise BenchError(f"A shard is written 1/8, 2/8, ... 8/8; got {text!r}.")


def prepare(
    order: Order,
    out: Path,
    *,
    shard: Shard | None = None,
    workers: int = 0,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any] | None:
    """Reads a source into a prepared data set; goes on where an earlier call stopped.

    With a shard only its share is read. The same call without one reads what is left
    and joins everything.

    Args:
        order: what to prepare.
        out: folder of the data set.
        shard: the share of this job.
        workers: processes; 0 reads in this one, which a damaged file may then end.
        tell: called with parts done and parts in all.

    Returns:
        The header of the data set; None for a shard.

    Raises:
        BenchError: something cannot be read, used or written.
    """
    source = open_source(order.source, order.reading, order.format)
    plan = make_plan(order, source)
    if is_prepared(out):
        return _finished(out, plan)
    units = _units(source)
    try:
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        _keep_plan(out / PLAN, plan)
    except OSError as error:
        raise no_room(out, error) from error
    paths = [out / PARTS / f"{i:07d}.npz" for i in range(len(units))]
    mine = (
        range(len(units))
        if shard is None
        else range(shard.number - 1, len(units), shard.of)
    )
    todo = [i for i in mine if not paths[i].exists()]
    tell(len(mine) - len(todo), len(mine))
    jobs = [_Job(source, units[i], order.filters, order.strict, paths[i]) for i in todo]
    for done, _ in enumerate(_run(jobs, workers), len(mine) - len(todo) + 1):
        tell(done, len(mine))
    if shard is not None:
        return None
    with _alone(out):
        _check(paths, order, out)
        facts = _facts(order, source, plan)
        header = merge(paths, out, order.filters, order.strict, facts)
        _discard_parts(out)
    return header


def _check(paths: list[Path], order: Order, out: Path) -> None:
    """Refuses what no structure has; parts read for that are of no use to anyone."""
    try:
        check_labels(total(map(load_tally, paths)), order.reading.named, order.source)
    except BenchError:
        _discard_parts(out)
        raise


def _discard_parts(out: Path) -> None:
    shutil.rmtree(out / PARTS)
    (out / PLAN).unlink()


def make_plan(order: Order, source: Source) -> dict[str, Any]:
    """All that decides the result: the files as they are now, and what is asked.

    Args:
        order: what to prepare.
        source: its reader.
    """
    stats = [(str(path), path.stat()) for path in source.files]
    return {
        "files": [[name, s.st_size, s.st_mtime_ns] for name, s in stats],
        "format": source.format,
        "reading": dataclasses.asdict(order.reading),
        "filters": json.loads(json.dumps(dataclasses.asdict(order.filters))),
        "strict": order.strict,
    }


class _Job(NamedTuple):
    source: Source
    unit: Unit
    filters: Filters
    strict: bool
    path: Path


def _work(job: _Job) -> None:
    columns, tally = read_unit(job.source, job.unit, job.filters, job.strict)
    try:
        save_part(job.path, columns, tally)
    except OSError as error:
        raise no_room(job.path.parent, error) from error


def _run(jobs: list[_Job], workers: int) -> Iterator[None]:
    if workers == 0:
        yield from map(_work, jobs)
        return
    if not jobs:
        return
    # Fresh processes, for a copy of one with threads may hang.
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(jobs)),
        multiprocessing.get_context("spawn"),
        initializer=_leave_interrupts_to_parent,
    )
    try:
        futures = {pool.submit(_work, job): job for job in jobs}
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        left = sorted({job.unit.path for job in jobs if not job.path.exists()})
        raise BenchError(
            "A reading process ended without a word, as a damaged file or too little "
            f"memory makes it; unread are {', '.join(left[:3])}. The same command "
            "goes on; --workers 1 finds the file."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _units(source: Source) -> list[Unit]:
    try:
        units = source.units()
    except BenchError:
        raise
    except Exception as error:  # a damaged file runs its reader into anything
        raise unreadable(
            source, ", ".join(map(str, source.files[:3])), error
        ) from error
    if not units:
        raise BenchError(
            f"{', '.join(map(str, source.files[:3]))}: there are no structures; give "
            "files with labelled ones."
        )
    return units


def _keep_plan(path: Path, plan: dict[str, Any]) -> None:
    if not path.exists():
        write_text(path, json.dumps(plan))
    elif json.loads(path.read_text()) != plan:
        raise BenchError(
            f"{path.parent} holds the beginning of another preparation: its files, "
            "names or filters differ; choose another folder with --out, or delete it."
        )


def _finished(out: Path, plan: dict[str, Any]) -> dict[str, Any]:
    header = json.loads((out / HEADER).read_text(encoding="utf-8"))
    if header.get("plan") != _digest(plan):
        raise BenchError(
            f"{out} holds a finished data set made from other files or with other "
            "names or filters: choose another folder with --out, or delete it."
        )
    return header


def _digest(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def _facts(order: Order, source: Source, plan: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": order.source,
        "read_as": source.format,
        "named": order.reading.named,
        "units": {
            "energy": order.reading.energy_unit,
            "length": order.reading.length_unit,
        },
        "filters": plan["filters"],
        "plan": _digest(plan),
    }


def _alone(out: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BenchError(
            f"Another process is joining the parts in {out}: wait for it."
        ) from None
    except OSError as error:
        raise no_room(out, error) from error
    return lock


def local_workers() -> int:
    """Processor cores this process may use."""
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
