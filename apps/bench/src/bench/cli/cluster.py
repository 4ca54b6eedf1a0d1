"""Submits shards of a preparation, or runs of a grid, as cluster jobs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.dataset.request import Shard
from bench.exceptions import BenchError
from bench.execution.compilation_cache import enable_compilation_cache
from bench.execution.workers import available_cores
from bench.settings.grid import Grid, Run
from bench.settings.parsing import parse_yaml
from bench.settings.preparation import PreparationSettings


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Parses options of `submitit`.

    Args:
        texts: each in the form `KEY=VALUE`, with values in YAML.

    Raises:
        BenchError: one of them has another form.
    """
    pairs = [text.partition("=") for text in texts]
    if not all(key and separator for key, separator, _ in pairs):
        raise BenchError(
            f"--submit-option has the form KEY=VALUE, got {' '.join(texts)}."
        )
    return {key: parse_yaml(value, f"--submit-option {key}") for key, _, value in pairs}


def submit_shards(
    request: PreparationSettings, out: Path, shards: int, options: dict[str, Any]
) -> list[str]:
    """Submits one job per shard; a later `prepare` without a shard merges the parts.

    Args:
        request: source and options of the preparation.
        out: folder of the dataset, shared by all nodes.
        shards: number of jobs.
        options: see `_submit`.

    Returns:
        Ids of the jobs.

    Raises:
        BenchError: see `_submit`.
    """
    tasks = [(request, out, number, shards) for number in range(1, shards + 1)]
    return _submit(_shard, tasks, out, "bench-prepare", options)


def submit_runs(
    grid: Grid,
    folder: Path,
    runs: Sequence[Run],
    options: dict[str, Any],
    no_cache: bool = False,
) -> list[str]:
    """Submits one job per run; a later `bench run` writes the report.

    Args:
        grid: settings.
        folder: of the results, shared by all nodes.
        runs: to train and test.
        options: see `_submit`.
        no_cache: see `enable_compilation_cache`.

    Returns:
        Ids of the jobs.

    Raises:
        BenchError: see `_submit`.
    """
    tasks = [(grid, folder, run, no_cache) for run in runs]
    return _submit(_run, tasks, folder, "bench-run", options)


def _submit(
    work: Callable[..., None],
    tasks: Sequence[tuple],
    folder: Path,
    name: str,
    options: dict[str, Any],
) -> list[str]:
    """Submits one call of a function per task.

    Args:
        work: importable function.
        tasks: arguments of the calls.
        folder: its subfolder `jobs` receives the logs.
        name: of the jobs.
        options: of `submitit`, such as `timeout_min` or `slurm_partition`; `cluster`
            is the type of cluster, detected if absent.

    Returns:
        Ids of the jobs.

    Raises:
        BenchError: submitit is not installed, or rejects an option.
    """
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BenchError(
            "Submitting jobs needs submitit: install bench with the extra `slurm`, or "
            "write an array job: `bench prepare ... --shard I/N` reads one shard, and "
            "`bench train GRID RUN` makes one run."
        ) from error
    options = dict(options)
    cluster = options.pop("cluster", None)
    try:
        executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=cluster)
        executor.update_parameters(name=name, **options)
    except (NameError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        raise BenchError(f"submitit rejects {options}: {error}") from error
    jobs = executor.map_array(work, *zip(*tasks, strict=True))
    return [job.job_id for job in jobs]


def _shard(request: PreparationSettings, out: Path, number: int, total: int) -> None:
    # Imported in the job only.
    from bench.dataset.preparing import prepare

    prepare(request, out, shard=Shard(number, total), workers=available_cores())


def _run(grid: Grid, folder: Path, run: Run, no_cache: bool) -> None:
    # Here, because the node's processor may be another one than the submitting one's.
    enable_compilation_cache(no_cache)
    from bench.experiment.parallel import run_single

    if reason := run_single(grid, folder, run):
        raise BenchError(reason)
