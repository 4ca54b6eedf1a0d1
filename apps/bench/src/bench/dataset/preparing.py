"""From any source to a prepared data set: in parts, by several processes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from bench.dataset.columns import Columns
from bench.dataset.counts import Tally, total
from bench.dataset.filters import Filters
from bench.dataset.merging import check_labels, merge
from bench.dataset.parts import (
    load_tally,
    part_before,
    parts_of,
    read_blocks,
    save_part,
    units_of,
)
from bench.dataset.prepared import HEADER, is_prepared
from bench.dataset.request import Order, Shard, requested_atomic_energies
from bench.dataset.unfinished import (
    PARTS,
    claim,
    digest_of_plan,
    discard_parts,
    make_plan,
    noted,
    reclaimable,
)
from bench.exceptions import BenchError
from bench.execution.workers import CRASH_PRONE_FORMATS, run
from bench.files import remove_leftovers, write_error
from bench.sources import Source, Unit, open_source


class _Job(NamedTuple):
    source: Source
    unit: Unit
    filters: Filters
    strict: bool
    path: Path


def _work(job: _Job) -> None:
    waiting = None
    for number, part in enumerate(
        read_blocks(job.source, job.unit, job.filters, job.strict)
    ):
        if waiting is not None:
            _save(part_before(job.path, number - 1), *waiting)
        waiting = part
    assert waiting is not None
    _save(job.path, *waiting)


def _save(path: Path, columns: Columns, tally: Tally) -> None:
    try:
        save_part(path, columns, tally)
    except OSError as error:
        raise write_error(path.parent, error) from error


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
    atomic_energies = requested_atomic_energies(order)
    plan = make_plan(order, source) | _as_text(atomic_energies)
    if is_prepared(out):
        return _finished(out, plan)
    fragile = source.format in CRASH_PRONE_FORMATS and workers > 0
    ((_, units),) = run(units_of, [source], int(fragile))
    try:
        remove_leftovers(out)
        claim(out, plan)
    except OSError as error:
        raise write_error(out, error) from error
    jobs = [
        _Job(source, unit, order.filters, order.strict, out / PARTS / f"{i:07d}.npz")
        for i, unit in enumerate(units)
    ]
    if shard is not None:
        # Others may be reading: a failure of this one leaves the folder theirs.
        _read(jobs[shard.number - 1 :: shard.of], workers, tell)
        return None
    with reclaimable(out, plan):
        _read(jobs, workers, tell)
    paths = [part for job in jobs for part in parts_of(job.path)]
    with _alone(out), reclaimable(out, plan):
        _check(paths, order, out)
        facts = _facts(order, source, plan)
        header = merge(paths, out, order.filters, order.strict, facts, atomic_energies)
        discard_parts(out)
    return header


def _as_text(atomic_energies: Any) -> dict[str, Any]:
    """The part of a plan that atomic energies are; nothing where there are none."""
    if isinstance(atomic_energies, dict):
        atomic_energies = {
            str(z): energy for z, energy in sorted(atomic_energies.items())
        }
    return {} if atomic_energies is None else {"atomic_energies": atomic_energies}


def _read(jobs: Sequence[_Job], workers: int, tell: Callable[[int, int], None]) -> None:
    """Makes the parts that are not there yet."""
    todo = [job for job in jobs if not job.path.exists()]
    done = len(jobs) - len(todo)
    tell(done, len(jobs))
    # A single part of a harmless format is not worth a process.
    apart = len(todo) > 1 or any(
        job.source.format in CRASH_PRONE_FORMATS for job in todo
    )
    for more, _ in enumerate(run(_work, todo, workers if apart else 0), 1):
        tell(done + more, len(jobs))


def _check(paths: list[Path], order: Order, out: Path) -> None:
    """Refuses what no structure has; parts read for that are of no use to anyone."""
    tally = total(map(load_tally, paths))
    try:
        check_labels(tally, order.reading.named, order.source)
    except BenchError:
        discard_parts(out)
        raise


def _finished(out: Path, plan: dict[str, Any]) -> dict[str, Any]:
    header = noted(out / HEADER)
    if header.get("plan") != digest_of_plan(plan):
        raise BenchError(
            f"{out} holds a finished data set made from other files or with other "
            "names or filters: choose another folder with --out, or delete it."
        )
    # Left where the last call was stopped right after its end.
    discard_parts(out)
    return header


def _facts(order: Order, source: Source, plan: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": order.source,
        "read_as": source.format,
        "named": order.reading.named,
        "units": {
            "energy": order.reading.energy_unit,
            "length": order.reading.length_unit,
            "stress": order.reading.stress_unit,
        },
        "filters": plan["filters"],
        "plan": digest_of_plan(plan),
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
        raise write_error(out, error) from error
    return lock
