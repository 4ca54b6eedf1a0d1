"""Commands of the program `bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.command_group import CommandGroup, run_app
from bench.cli.md import md_command
from bench.cli.models import eval_command, split_command, train_command
from bench.cli.options import NoCache
from bench.cli.prepare import prepare_command
from bench.exceptions import BenchError, Interrupted
from bench.execution.announcements import announce
from bench.execution.compilation_cache import enable_compilation_cache
from bench.settings.choices import LoggerName

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trains potentials with and without long-range layers and tests them on "
    "unseen chemistry. Without a command: the quick grid on bundled data.",
)

Out = Annotated[Path | None, typer.Option(help="Folder of results.  \\[runs/GRID]")]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--override", help="Changes a setting, such as -o train.epochs=5."
    ),
]


Jobs = Annotated[int, typer.Option(min=1, help="Number of runs at the same time.")]


@app.callback(invoke_without_command=True)
def quick(
    context: typer.Context,
    out: Out = None,
    override: Override = None,
    jobs: Jobs = 1,
    no_cache: NoCache = False,
) -> None:
    """Runs the quick grid when no command is given."""
    if context.invoked_subcommand is None:
        _run("quick", out, override, jobs, no_cache)


@app.command()
def run(
    grid: Annotated[
        str,
        typer.Argument(
            help="A grid of bench, such as quick, layers, charges, full or one of the "
            "published qmof, odac25 and omol25; or a YAML file."
        ),
    ],
    out: Out = None,
    override: Override = None,
    jobs: Jobs = 1,
    submit: Annotated[
        bool, typer.Option("--submit", help="Submit each run as a cluster job.")
    ] = False,
    submit_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of submitit, such as timeout_min=60."
        ),
    ] = None,
    log: Annotated[
        list[LoggerName] | None,
        typer.Option(help="Also log metrics to tensorboard or wandb."),
    ] = None,
    no_cache: NoCache = False,
) -> None:
    """Trains and tests every run of a grid; resumes where an earlier call stopped."""
    if submit:
        _submit(grid, out, override, submit_option or [], no_cache)
    else:
        _run(grid, out, override, jobs, no_cache, log or [])


@app.command()
def template(
    name: Annotated[
        str, typer.Argument(help="A grid of bench, or one of the commands prepare, md.")
    ],
) -> None:
    """Prints the YAML file of a grid or of the settings of a command, as a template."""
    from bench.settings.grid import preset_text, presets
    from bench.settings.template import COMMANDS, template_text

    names = [*COMMANDS, *presets()]
    if name not in names:
        raise BenchError(
            f"There is no template {name!r}: choose one of {', '.join(names)}."
        )
    is_command = name in COMMANDS
    text = template_text(COMMANDS[name]) if is_command else preset_text(name)
    typer.echo(text, nl=False)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a grid.")]) -> None:
    """Writes report.html and report.md of a finished grid again."""
    from bench.report.write import write_report

    typer.echo(f"Report: {write_report(folder)}")


app.command("prepare")(prepare_command)
app.command("split")(split_command)
app.command("train")(train_command)
app.command("eval")(eval_command)
app.command("md")(md_command)


@app.command()
def info(
    dataset: Annotated[
        str, typer.Argument(help="A bundled dataset, a prepared folder, or a source.")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare checksums of a prepared dataset.")
    ] = False,
) -> None:
    """Describes a dataset."""
    from bench.dataset.opening import open_dataset
    from bench.dataset.prepared import open_prepared
    from bench.dataset.prepared import verify as verify_checksums
    from bench.dataset.summary import describe

    if verify:
        verify_checksums(open_prepared(Path(dataset)))
    typer.echo(describe(open_dataset(dataset, strict=False)))


def _run(
    source: str,
    out: Path | None,
    override: list[str] | None,
    jobs: int,
    no_cache: bool,
    log: Sequence[LoggerName] = (),
) -> None:
    from bench.settings.grid import load_grid

    grid = load_grid(source, override)
    folder = _default_folder(source, out)
    enable_compilation_cache(no_cache)
    announce(f"{source}: {len(grid.runs())} runs in {folder}; loading JAX")
    # Imported here, since these load JAX, which takes seconds.
    from bench.cli.progress import Progress, results_table
    from bench.experiment.grid import execute_runs, output_folder
    from bench.experiment.loggers import log_to
    from bench.report.write import write_report

    try:
        with output_folder(folder, grid):
            with (
                Progress(grid) as progress,
                log_to(log, folder, progress.update) as callback,
            ):
                outcome = execute_runs(grid, folder, callback, jobs, progress.warn)
            report = write_report(folder) if outcome.results else None
    except KeyboardInterrupt:
        # Typer would exit without a message.
        raise Interrupted(
            "interrupted; finished epochs are saved, and the same command resumes."
        ) from None
    if report is not None:
        progress.console.print(results_table(outcome.results))
        typer.echo(f"Report: {report}")
    if outcome.failures:
        (name, reason), *others = outcome.failures.items()
        also = f" Also failed: {', '.join(n for n, _ in others)}." if others else ""
        raise BenchError(
            f"{len(outcome.failures)} of {len(grid.runs())} runs failed. "
            f"{name}: {reason.rstrip('.')}.{also}"
        )


def _submit(
    source: str,
    out: Path | None,
    override: list[str] | None,
    texts: list[str],
    no_cache: bool,
) -> None:
    from bench.cli.cluster import parse_options, submit_runs
    from bench.experiment.grid import output_folder, unfinished_runs
    from bench.settings.grid import load_grid

    grid, folder, options = (
        load_grid(source, override),
        _default_folder(source, out),
        parse_options(texts),
    )
    with output_folder(folder, grid):
        waiting = unfinished_runs(grid, folder)
        if not waiting:
            raise BenchError(f"All runs in {folder} are finished: nothing to submit.")
        jobs = submit_runs(grid, folder.resolve(), waiting, options, no_cache)
    typer.echo(
        f"Submitted {len(jobs)} jobs, {jobs[0]} and following; when they are finished, "
        "the same command without --submit writes the report and repeats failed runs."
    )


def _default_folder(source: str, out: Path | None) -> Path:
    return out or Path("runs") / Path(source).stem


def main() -> None:
    """Entry point of the program; errors of the user are one-line messages."""
    run_app(app)
