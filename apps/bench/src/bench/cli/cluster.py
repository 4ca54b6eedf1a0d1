"""Shards of a preparation, or runs of a grid, as an array job of a cluster."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.dataset.request import PreparationRequest, Shard
from bench.exceptions import BenchError
from bench.execution.workers import available_cores
from bench.settings.grid import Grid, Run
from bench.settings.parsing import parse_yaml


def options_of(texts: Sequence[str]) -> dict[str, Any]:
    """Options of `submitit` as a command line gives them.

    Args:
        texts: `KEY=VALUE` each.

    Raises:
        BenchError: one of them reads otherwise.
    """
    pairs = [text.partition("=") for text in texts]
    if not all(key and found for key, found, _ in pairs):
        raise BenchError(f"--submit-option reads KEY=VALUE, got {' '.join(texts)}.")
    return {key: parse_yaml(value, f"--submit-option {key}") for key, _, value in pairs}


def submit_shards(
    request: PreparationRequest, out: Path, shards: int, options: dict[str, Any]
) -> list[str]:
    """Submits one job a shard; the call of `prepare` without a shard joins them later.

    Args:
        request: what to prepare.
        out: folder of the data set, seen by all nodes.
        shards: how many jobs.
        options: see `_submit`.

    Returns:
        Ids of the jobs.

    Raises:
        BenchError: see `_submit`.
    """
    tasks = [(request, out, number, shards) for number in range(1, shards + 1)]
    return _submit(_shard, tasks, out, "bench-prepare", options)


def submit_runs(
    grid: Grid, folder: Path, runs: Sequence[Run], options: dict[str, Any]
) -> list[str]:
    """Submits one job a run; the report of the grid is made when they are done.

    Args:
        grid: of the runs.
        folder: of the grid, seen by all nodes.
        runs: to be made.
        options: see `_submit`.

    Returns:
        Ids of the jobs.

    Raises:
        BenchError: see `_submit`.
    """
    tasks = [(grid, folder, run) for run in runs]
    return _submit(_run, tasks, folder, "bench-run", options)


def _submit(
    work: Callable[..., None],
    tasks: Sequence[tuple],
    folder: Path,
    name: str,
    options: dict[str, Any],
) -> list[str]:
    """Submits a call of `work` with each task's arguments.

    Args:
        work: a function of a module.
        tasks: arguments of each call.
        folder: whose `jobs` keeps what jobs print.
        name: of the jobs.
        options: of `submitit`, such as `timeout_min` or `slurm_partition`; `cluster`
            is the kind of cluster, found out where it is not given.

    Returns:
        Ids of the jobs.

    Raises:
        BenchError: submitit is not installed, or does not know an option.
    """
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BenchError(
            "Submitting jobs needs submitit: install bench with the extra `slurm`, or "
            "write an array job of your own: `bench prepare ... --shard I/N` reads a "
            "share, and `bench run` with one split or seed each makes some of the runs."
        ) from error
    options = dict(options)
    cluster = options.pop("cluster", None)
    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=cluster)
        executor.update_parameters(name=name, **options)
    except (NameError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        raise BenchError(f"submitit refuses {options}: {error}") from error
    jobs = executor.map_array(work, *zip(*tasks, strict=True))
    return [job.job_id for job in jobs]


def _shard(request: PreparationRequest, out: Path, number: int, of: int) -> None:
    # Imported where the job runs.
    from bench.dataset.preparing import prepare

    prepare(request, out, shard=Shard(number, of), workers=available_cores())


def _run(grid: Grid, folder: Path, run: Run) -> None:
    from bench.experiment.parallel import run_single

    if reason := run_single(grid, folder, run):
        raise BenchError(reason)
