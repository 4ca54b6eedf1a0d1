"""The command `bench prepare`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.exceptions import BenchError, Interrupted
from bench.execution.announcements import announce

if TYPE_CHECKING:
    from bench.settings.preparation import PreparationSettings


def prepare_command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A file, a folder, or a pattern in quotes; or a settings file, see "
            "`bench template prepare`."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the dataset.  \\[data/mine for settings mine.yaml]"
        ),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--override",
            help="Changes a setting, such as -o keys.energy=REF_energy.",
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="List download pages of published datasets, and exit."
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Reading processes.  \\[all cores]",
            rich_help_panel="Parallel reading",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Read one of N shards; a call without it merges them.",
            rich_help_panel="Parallel reading",
        ),
    ] = None,
    submit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Submit N shards as cluster jobs.",
            rich_help_panel="Parallel reading",
        ),
    ] = None,
    submit_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of submitit, such as timeout_min=60.",
            rich_help_panel="Parallel reading",
        ),
    ] = None,
) -> None:
    """Converts a source to a dataset on disk; resumes where an earlier call stopped."""
    if published:
        from bench.sources.published import describe_published

        typer.echo(describe_published())
        return
    from bench.settings.preparation import PreparationSettings
    from bench.settings.schema import is_settings_file, load_settings

    file = Path(source) if source and is_settings_file(source) else None
    if file is not None:
        out = out or Path("data") / file.stem
    if source is None and not any(o.startswith("source=") for o in override or []):
        raise BenchError(
            "The source is missing: bench prepare SOURCE --out FOLDER; "
            "`bench prepare --published` lists published datasets."
        )
    if out is None:
        raise BenchError(
            "The folder of the dataset is missing: bench prepare "
            f"{'SOURCE' if source is None else source} --out FOLDER."
        )
    options = {"source": source if file is None else None}
    request = load_settings(
        PreparationSettings, file, options, override or [], command="prepare"
    )
    from bench.dataset.preparing import prepare
    from bench.dataset.request import Shard
    from bench.execution.workers import available_cores

    if submit is not None:
        _submit(request, out, submit, submit_option or [])
        return
    announce(f"preparing {request.source} in {out}")
    start = time.perf_counter()
    try:
        header = prepare(
            request,
            out,
            shard=None if shard is None else Shard.parse(shard),
            workers=workers or available_cores(),
            callback=_progress(),
        )
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; finished parts are saved, and the same command resumes."
        ) from None
    seconds = time.perf_counter() - start
    if header is None:
        typer.echo(
            f"Shard {shard} is read; the same command without --shard merges all."
        )
        return
    _report(out, header, seconds)


def _submit(
    request: "PreparationSettings", out: Path, shards: int, texts: list[str]
) -> None:
    from bench.cli.cluster import parse_options, submit_shards

    jobs = submit_shards(request, out, shards, parse_options(texts))
    typer.echo(
        f"Submitted {len(jobs)} jobs, {jobs[0]} and following; when they are finished, "
        "the same command without --submit merges their parts."
    )


def _report(out: Path, header: dict[str, Any], seconds: float) -> None:
    # Imported here, since it loads JAX, which takes seconds.
    from bench.dataset.opening import open_dataset
    from bench.dataset.summary import describe

    typer.echo(describe(open_dataset(str(out))))
    typer.echo(
        f"Prepared: {out}, {header['structures']} of {header['read']} structures "
        f"stored in {seconds:.1f} s"
    )


def _progress():
    """Returns a callback that prints how many parts are read, one line at a time."""
    from rich.console import Console

    console = Console()
    last = [0.0]

    def callback(done: int, total: int) -> None:
        now = time.monotonic()
        interval = 0.2 if console.is_terminal else 10.0
        if done < total and (done == 0 or now - last[0] < interval):
            return
        last[0] = now
        end = "\r" if console.is_terminal and done < total else "\n"
        console.print(f"{done}/{total} parts read", end=end, highlight=False)

    return callback
