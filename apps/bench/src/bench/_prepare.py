"""From any source to a prepared data set: in parts, by several processes."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from ._errors import BenchError
from ._merge import check_labels, merge
from ._parts import load_tally, read_unit, save_part, total, units_of
from ._prepared import HEADER, is_prepared
from ._recipes import Filters
from ._sources import BLOCK, Reading, Source, Unit, open_source
from ._workers import FRAGILE, run
from ._writing import no_room, write_text

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
    fragile = source.format in FRAGILE and workers > 0
    ((_, units),) = run(units_of, [source], int(fragile))
    try:
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        _keep_plan(out / PLAN, plan)
    except OSError as error:
        raise no_room(out, error) from error
    jobs = [
        _Job(source, unit, order.filters, order.strict, out / PARTS / f"{i:07d}.npz")
        for i, unit in enumerate(units)
    ]
    _read(jobs if shard is None else jobs[shard.number - 1 :: shard.of], workers, tell)
    if shard is not None:
        return None
    paths = [job.path for job in jobs]
    with _alone(out):
        _check(paths, order, out)
        facts = _facts(order, source, plan)
        header = merge(paths, out, order.filters, order.strict, facts)
        _discard_parts(out)
    return header


def _read(jobs: Sequence[_Job], workers: int, tell: Callable[[int, int], None]) -> None:
    """Makes the parts that are not there yet."""
    todo = [job for job in jobs if not job.path.exists()]
    done = len(jobs) - len(todo)
    tell(done, len(jobs))
    # A single part of a harmless format is not worth a process.
    apart = len(todo) > 1 or any(job.source.format in FRAGILE for job in todo)
    for more, _ in enumerate(run(_work, todo, workers if apart else 0), 1):
        tell(done + more, len(jobs))


def _check(paths: list[Path], order: Order, out: Path) -> None:
    """Refuses what no structure has; parts read for that are of no use to anyone."""
    tally = total(map(load_tally, paths))
    try:
        check_labels(tally, order.reading.named, order.source)
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
        "block": BLOCK,
        "reading": dataclasses.asdict(order.reading),
        "filters": json.loads(json.dumps(dataclasses.asdict(order.filters))),
        "strict": order.strict,
    }


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
