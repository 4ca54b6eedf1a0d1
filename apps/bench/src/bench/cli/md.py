"""The command `bench md`."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import NoCache
from bench.exceptions import BenchError, Interrupted
from bench.execution.announcements import announce
from bench.execution.compilation_cache import enable_compilation_cache
from bench.settings.choices import Mode

if TYPE_CHECKING:
    from rich.console import Console

    from bench.dynamics.study.structures import SimulationInputs
    from bench.dynamics.study.study import StudyCallback
    from bench.settings.simulation import StudySettings


def md_command(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Folders of `bench run` or of single runs, model files; or a settings "
            "file, see `bench template md`.",
        ),
    ] = None,
    structure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Structures to simulate.  \\[structures of the test set]",
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="Duration: dev (CI), fast (minutes) or standard.  \\[fast]"),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature, K.  \\[300]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of results.  \\[runs/md, or runs/SETTINGS]"),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--override",
            help="Changes a setting, such as -o simulation.timestep=0.25.",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Parallel simulations, each in its own process.")
    ] = 1,
    no_cache: NoCache = False,
) -> None:
    """Tests the stability of molecular dynamics with trained models."""
    from bench.settings.schema import is_settings_file, load_settings
    from bench.settings.simulation import StudySettings

    models = models or []
    if not models and not any(text.startswith("models=") for text in override or []):
        raise BenchError(
            "No models are given: bench md MODEL..., bench md SETTINGS.yaml, or "
            "bench md -o models=[MODEL]."
        )
    settings_files = [path for path in models if is_settings_file(path)]
    if len(settings_files) > 1:
        raise BenchError(f"More than one settings file: {settings_files[1]}.")
    file = settings_files[0] if settings_files else None
    options = {
        "models": [str(path) for path in models if path != file] or None,
        "structures.files": structure and [str(path) for path in structure],
        "simulation.mode": mode,
        "simulation.temperature": temperature,
    }
    settings = load_settings(StudySettings, file, options, override or [], command="md")
    reference = [] if settings.reference is None else [settings.reference]
    for path in (*settings.models, *settings.structures.files, *reference):
        if not path.exists():
            raise BenchError(f"{path} does not exist.")
    enable_compilation_cache(no_cache)
    announce(f"loading JAX and {', '.join(map(str, settings.models))}")
    # Imported late: it takes seconds.
    import jax

    folder = out or Path("runs") / ("md" if file is None else file.stem)
    try:
        with jax.enable_x64(settings.double):
            _simulate(_list_simulations(settings), settings, folder, jobs)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; checkpoints are kept, and the same command continues."
        ) from None


def _list_simulations(settings: "StudySettings") -> "list[SimulationInputs]":
    from bench.dynamics.study.models import open_models
    from bench.dynamics.study.structures import list_simulations, read_structures

    models = open_models(settings.models)
    without = [m.name for m in models if not m.potential.backbone.has_charges]
    if settings.require_charges and without:
        raise BenchError(
            f"{without[0]} has no charges, because it has no long-range layer with "
            "charges: remove it, or omit require_charges."
        )
    return list_simulations(models, read_structures(settings.structures))


def _simulate(
    simulations: "list[SimulationInputs]",
    settings: "StudySettings",
    out: Path,
    jobs: int,
) -> None:
    from rich.console import Console

    from bench.dynamics.study.structure_files import read_frames

    console = Console()
    frames = () if settings.reference is None else read_frames(settings.reference)
    if importlib.util.find_spec("jax_md") is None:
        raise BenchError(
            "`bench md` needs jax-md: install the optional dependencies, bench[md]."
        )
    announce("loading jax-md")
    # Imported after the checks above: it takes seconds.
    from bench.dynamics.page.page import write_page
    from bench.dynamics.page.table import summary_line
    from bench.dynamics.study.protocol import timestep_warning
    from bench.dynamics.study.study import run_study

    for initial in dict.fromkeys(initial for _, initial in simulations):
        warning = timestep_warning(initial.atoms, settings.simulation.timestep)
        if warning:
            console.print(f"Warning: {warning}", highlight=False, soft_wrap=True)
    results, failures = run_study(
        simulations,
        settings.simulation,
        out,
        _callback(console),
        reference=frames,
        jobs=jobs,
    )
    if results:
        for result in results:
            typer.echo(summary_line(result))
        typer.echo(f"Page: {write_page(results, out)}")
    if failures:
        name, reason = next(iter(failures.items()))
        raise BenchError(
            f"{len(failures)} of {len(simulations)} could not be simulated. The first, "
            f"{name}: {reason}"
        )


def _callback(console: "Console") -> "StudyCallback":
    """Returns a callback that prints progress.

    On a terminal it overwrites one line; otherwise it prints a line per quarter of a
    stage.
    """
    printed: set[tuple[str, str, str, int]] = set()

    def callback(
        model: str,
        structure: str,
        stage: str,
        fraction: float,
        rate: float,
        temperature: float,
    ) -> None:
        key = model, structure, stage, int(4 * fraction)
        if not console.is_terminal and key in printed:
            return
        printed.add(key)
        end = "\r" if console.is_terminal and fraction < 1 else "\n"
        text = f"{model}  {structure}  {stage} {100 * fraction:3.0f} %"
        console.print(
            f"{text}  {rate:.0f} steps/s  {temperature:.0f} K",
            end=end,
            highlight=False,
            soft_wrap=True,
        )

    return callback
