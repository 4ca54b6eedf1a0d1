"""Preparation of a dataset: parts read by several processes, then merged."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from bench.dataset.columns import Columns
from bench.dataset.differences import differences
from bench.dataset.merging import check_labels, merge
from bench.dataset.parts import (
    load_statistics,
    part_before,
    parts_of,
    read_blocks,
    row_ranges_of,
    save_part,
)
from bench.dataset.prepared import HEADER, check_version, is_prepared
from bench.dataset.read_statistics import ReadStatistics, combined
from bench.dataset.request import Shard, requested_atomic_energies
from bench.dataset.unfinished import (
    PARTS,
    claim_folder,
    digest_of_inputs,
    discard_parts,
    preparation_inputs,
    read_json,
    release_on_failure,
    summary_of_inputs,
)
from bench.exceptions import BenchError
from bench.execution.callback import Callback
from bench.execution.workers import CRASH_PRONE_FORMATS, run_tasks
from bench.files import remove_leftovers, write_error
from bench.settings.preparation import Filters, PreparationSettings
from bench.sources import RowRange, Source, open_source

PrepareCallback = Callback[int, int]
"""Called with the number of finished parts and the number of all parts."""


class _ReadJob(NamedTuple):
    """One row range to read.

    Args:
        source: reader of its file.
        row_range: indices of the rows.
        filters: conditions that rows must meet.
        strict: whether a row that cannot be used is an error.
        path: of the last part of the range.
    """

    source: Source
    row_range: RowRange
    filters: Filters
    strict: bool
    path: Path


def _read_row_range(job: _ReadJob) -> None:
    """Writes the parts of a row range; the last one marks the range as complete."""
    previous = None
    for number, part in enumerate(
        read_blocks(job.source, job.row_range, job.filters, job.strict)
    ):
        if previous is not None:
            _save(part_before(job.path, number - 1), *previous)
        previous = part
    assert previous is not None
    _save(job.path, *previous)


def _save(path: Path, columns: Columns, statistics: ReadStatistics) -> None:
    try:
        save_part(path, columns, statistics)
    except OSError as error:
        raise write_error(path.parent, error) from error


def prepare(
    request: PreparationSettings,
    out: str | os.PathLike,
    *,
    shard: Shard | None = None,
    workers: int = 0,
    callback: PrepareCallback = lambda done, parts: None,
) -> dict[str, Any] | None:
    """Prepares a dataset: reads a source and writes it as columns.

    An interrupted preparation resumes if it is called with the same arguments. With a
    shard only the row ranges of that shard are read; a call without one reads the
    remaining ranges and merges all parts.

    Args:
        request: source, keys, filters and options.
        out: folder of the dataset.
        shard: the share of this job; None prepares the whole dataset.
        workers: number of reading processes; 0 reads in the calling process, which a
            damaged file can crash.
        callback: called after each part.

    Returns:
        The header of the dataset; None for a shard.

    Raises:
        BenchError: the source cannot be read or used, or the folder cannot be written.

    Examples:
        >>> settings = bench.PreparationSettings(
        ...     source="mine.extxyz", filters=bench.Filters(max_atoms=100)
        ... )
        >>> header = bench.prepare(settings, "data/mine")
        >>> header["structures"]
    """
    out = Path(out)
    source = open_source(request.source, request.read_options)
    atomic_energies = requested_atomic_energies(request)
    inputs = preparation_inputs(request, source) | _as_json(atomic_energies)
    if is_prepared(out):
        return _finished_header(out, inputs)
    fragile = source.format in CRASH_PRONE_FORMATS and workers > 0
    ((_, row_ranges),) = run_tasks(row_ranges_of, [source], int(fragile))
    try:
        remove_leftovers(out)
        claim_folder(out, inputs)
    except OSError as error:
        raise write_error(out, error) from error
    path = lambda i: out / PARTS / f"{i:07d}.npz"
    jobs = [
        _ReadJob(source, row_range, request.filters, request.strict, path(i))
        for i, row_range in enumerate(row_ranges)
    ]
    if shard is not None:
        # A failed shard does not release the folder: other shards may be reading.
        _read(jobs[shard.number - 1 :: shard.total], workers, callback)
        return None
    with release_on_failure(out, inputs):
        _read(jobs, workers, callback)
    paths = [part for job in jobs for part in parts_of(job.path)]
    with _locked(out), release_on_failure(out, inputs):
        _check_labels(paths, request, out)
        entries = _request_entries(request, source, inputs)
        header = merge(
            paths, out, request.filters, request.strict, entries, atomic_energies
        )
        discard_parts(out)
    return header


def _as_json(atomic_energies: Any) -> dict[str, Any]:
    """Returns the atomic energies as an entry of the inputs; empty if they are None."""
    if isinstance(atomic_energies, dict):
        atomic_energies = {
            str(z): energy for z, energy in sorted(atomic_energies.items())
        }
    return {} if atomic_energies is None else {"atomic_energies": atomic_energies}


def _read(jobs: Sequence[_ReadJob], workers: int, callback: PrepareCallback) -> None:
    """Reads the row ranges that have not been read."""
    remaining = [job for job in jobs if not job.path.exists()]
    done = len(jobs) - len(remaining)
    callback(done, len(jobs))
    # Starting a process takes longer than reading one row range of a safe format.
    in_processes = len(remaining) > 1 or any(
        job.source.format in CRASH_PRONE_FORMATS for job in remaining
    )
    finished = run_tasks(_read_row_range, remaining, workers if in_processes else 0)
    for count, _ in enumerate(finished, 1):
        callback(done + count, len(jobs))


def _check_labels(paths: list[Path], request: PreparationSettings, out: Path) -> None:
    """Checks the labels; deletes the parts on failure, since new keys change them."""
    statistics = combined(map(load_statistics, paths))
    try:
        check_labels(statistics, request.keys, request.source)
    except BenchError:
        discard_parts(out)
        raise


def _finished_header(out: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the header of a finished dataset after comparing its inputs."""
    header = read_json(out / HEADER)
    check_version(out, header)
    if header.get("inputs_digest") != digest_of_inputs(inputs):
        stored = header.get("inputs")
        made = f"by an older version from {header.get('source')}"
        if isinstance(stored, dict):
            changes = differences(stored, summary_of_inputs(inputs))
            made = f"from other files or with other settings, {changes}"
        raise BenchError(
            f"{out} holds a finished dataset made {made}: choose another folder with "
            "--out, or delete it."
        )
    # They exist if the previous call was killed after writing the header.
    discard_parts(out)
    return header


def _request_entries(
    request: PreparationSettings, source: Source, inputs: dict[str, Any]
) -> dict[str, Any]:
    return {
        "source": request.source,
        "read_as": source.format,
        "given_keys": dict(request.keys),
        "units": {
            "energy": request.read.energy_unit,
            "length": request.read.length_unit,
            "stress": request.read.stress_unit,
        },
        "filters": inputs["filters"],
        "inputs": summary_of_inputs(inputs),
        "inputs_digest": digest_of_inputs(inputs),
    }


def _locked(out: Path) -> filelock.BaseFileLock:
    """Returns the acquired lock of a folder, a context manager that releases it."""
    lock = filelock.FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BenchError(
            f"Another process is merging the parts in {out}: wait for it."
        ) from None
    except OSError as error:
        raise write_error(out, error) from error
    return lock
