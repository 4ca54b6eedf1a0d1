"""The shards of a preparation as an array job of a cluster."""

from pathlib import Path
from typing import Any

from ._errors import BenchError
from ._prepare import Order, Shard, prepare
from ._workers import local_workers


def submit(order: Order, out: Path, shards: int, options: dict[str, Any]) -> list[str]:
    """Submits one job a shard; the call of `prepare` without a shard joins them later.

    Args:
        order: what to prepare.
        out: folder of the data set, seen by all nodes.
        shards: how many jobs.
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
            "write an array job of `bench prepare ... --shard I/N`."
        ) from error
    options = dict(options)
    cluster = options.pop("cluster", None)
    try:
        executor = submitit.AutoExecutor(folder=out / "jobs", cluster=cluster)
        executor.update_parameters(name="bench-prepare", **options)
    except (NameError, ValueError, RuntimeError, TypeError, AssertionError) as error:
        raise BenchError(f"submitit refuses {options}: {error}") from error
    numbers = range(1, shards + 1)
    jobs = executor.map_array(
        _shard, *zip(*((order, out, n, shards) for n in numbers), strict=True)
    )
    return [job.job_id for job in jobs]


def _shard(order: Order, out: Path, number: int, of: int) -> None:
    prepare(order, out, shard=Shard(number, of), workers=local_workers())
