"""The command `bench`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ._errors import BenchError, Interrupted

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trains and tests potentials with and without long-range layers on chemistry "
    "they have not seen. Without a command: the quick grid on bundled data.",
)

Out = Annotated[Path | None, typer.Option(help="Folder of results.  [runs/GRID]")]
Override = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", help="A setting, such as -o train.epochs=5."),
]


@app.callback(invoke_without_command=True)
def quick(context: typer.Context, out: Out = None, override: Override = None) -> None:
    """Runs the quick grid when no command is given."""
    if context.invoked_subcommand is None:
        _run("quick", out, override)


@app.command()
def run(
    grid: Annotated[str, typer.Argument(help="quick, ions, or a YAML file.")],
    out: Out = None,
    override: Override = None,
) -> None:
    """Trains and tests every run of a grid; goes on where an earlier call stopped."""
    _run(grid, out, override)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Of a finished grid.")]) -> None:
    """Writes report.html and report.md again."""
    from ._report import write_report

    typer.echo(f"Report: {write_report(folder)}")


@app.command()
def info(
    dataset: Annotated[str, typer.Argument(help="A bundled set or an extxyz file.")],
) -> None:
    """Describes a data set."""
    from ._dataset import load
    from ._summary import describe

    typer.echo(describe(load(dataset)))


def _run(source: str, out: Path | None, override: list[str] | None) -> None:
    from ._config import load_grid

    grid = load_grid(source, override)
    folder = out or Path("runs") / Path(source).stem
    _keep_compiled_programs()
    # Imported late: these load jax, which takes seconds.
    from ._experiment import output_folder, run_grid
    from ._progress import Progress
    from ._report import write_report

    try:
        with output_folder(folder, grid), Progress(grid) as progress:
            run_grid(grid, folder, progress.tell)
            page = write_report(folder)
    except KeyboardInterrupt:
        # Here, for the argument parser would end the process without a word.
        raise Interrupted(
            "interrupted; finished epochs are kept and the same command goes on from "
            "there."
        ) from None
    typer.echo((folder / "report.md").read_text())
    typer.echo(f"Report: {page}")


def _keep_compiled_programs() -> None:
    """Lets a second start find the programs that the first one compiled."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "long-range-bench"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def main() -> None:
    """Entry point: mistakes of the user end in one sentence and a non-zero status."""
    try:
        app(standalone_mode=True)
    except BenchError as error:
        typer.echo(f"bench: {error}", err=True)
        sys.exit(error.status)
