"""The command `bench md`."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.exceptions import BenchError, Interrupted
from bench.execution.announcements import announce
from bench.execution.compilation_cache import enable_compilation_cache

if TYPE_CHECKING:
    from rich.console import Console

    from bench.dynamics.study.models import Model
    from bench.dynamics.study.structures import SimulationInputs
    from bench.dynamics.study.study import StudyCallback

_MODES = ("dev", "fast", "standard")
_THERMOSTATS = ("langevin", "nose-hoover")
_BOUNDS = {
    "temperature": (0, 1e5, " K"),
    "ramp_to": (0, 1e5, " K"),
    "timestep": (0, 100, " fs"),
    "pressure": (-1e4, 1e4, " GPa"),
    "replicas": (1, 10_000, ""),
    "total_charge": (-1000, 1000, " e"),
    "spin": (0, 1000, ""),
    "seed": (0, 2**31 - 1, ""),
}
"""Smallest and largest value of every number, and its unit."""

_POSITIVE = ("temperature", "ramp_to", "timestep")


def md_command(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...", help="Folders of `bench run` or of single runs."
        ),
    ],
    structure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Structures to simulate.  \\[structures of the test set]",
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="N|all", help="Index in a file with several structures, from 0."
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="Duration: dev (CI), fast (minutes) or standard.")
    ] = "fast",
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs/md"),
    temperature: Annotated[float, typer.Option(help="Temperature, K.")] = 300.0,
    ramp_to: Annotated[
        float, typer.Option(help="Final temperature of the heating ramp, K.")
    ] = 1000.0,
    timestep: Annotated[float, typer.Option(help="Time step, fs.")] = 0.5,
    thermostat: Annotated[
        str, typer.Option(help="Thermostat: langevin or nose-hoover.")
    ] = "langevin",
    pressure: Annotated[
        float, typer.Option(help="Pressure of the npt stage, GPa.")
    ] = 0.0,
    replicas: Annotated[
        int, typer.Option(min=1, help="Simulations of each structure.")
    ] = 1,
    relax: Annotated[
        bool, typer.Option(help="Relax with the model first, at fixed cell.")
    ] = True,
    total_charge: Annotated[
        float | None, typer.Option(help="Total charge, e.  \\[that of the file, or 0]")
    ] = None,
    spin: Annotated[
        int, typer.Option(min=0, help="Spin multiplicity; 0 if unknown.")
    ] = 0,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Trajectory whose radial distribution is compared."
        ),
    ] = None,
    require_charges: Annotated[
        bool, typer.Option("--require-charges", help="Reject models without charges.")
    ] = False,
    double: Annotated[
        bool, typer.Option("--double", help="Double precision, half as fast.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed of velocities and noise.")] = 0,
    jobs: Annotated[
        int, typer.Option(min=1, help="Parallel simulations, each in its own process.")
    ] = 1,
) -> None:
    """Tests the stability of molecular dynamics with trained models."""
    _check_choice("--mode", mode, _MODES)
    _check_choice("--thermostat", thermostat, _THERMOSTATS)
    _check_frames(frames, bool(structure))
    numbers = dict(temperature=temperature, ramp_to=ramp_to, timestep=timestep)
    numbers |= dict(pressure=pressure, replicas=replicas, spin=spin, seed=seed)
    numbers |= {} if total_charge is None else {"total_charge": total_charge}
    for name, value in numbers.items():
        _check_number(name, value)
    if not ramp_to >= temperature:
        raise BenchError(
            f"--ramp-to must be at least --temperature, {temperature:g} K; got "
            f"{ramp_to:g}."
        )
    settings = dict(
        mode=mode,
        temperature=temperature,
        ramp_to=ramp_to,
        timestep=timestep,
        thermostat=thermostat,
        pressure=pressure,
        replicas=replicas,
        seed=seed,
        relax=relax,
    )
    for path in (*models, *(structure or ()), *([reference] if reference else ())):
        if not path.exists():
            raise BenchError(f"{path} does not exist.")
    announce(f"loading JAX and {', '.join(map(str, models))}")
    # Imported late: it takes seconds.
    import jax

    try:
        with jax.enable_x64(double):
            opened = _open_models(models, require_charges)
            simulations = _list_simulations(
                opened, structure or (), total_charge, spin, frames
            )
            _simulate(simulations, settings, out, reference, jobs)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; checkpoints are kept, and the same command continues."
        ) from None


def _check_number(name: str, value: float) -> None:
    """Rejects infinite, NaN, negative or extreme numbers."""
    least, most, unit = _BOUNDS[name]
    option = f"--{name.replace('_', '-')}"
    if name in _POSITIVE and not value > 0:
        raise BenchError(f"{option} must be positive, got {value:g}.")
    if not least <= value <= most:
        raise BenchError(
            f"{option} must be between {least:g} and {most:g}{unit}, got {value:g}."
        )


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BenchError(
            f"{option} must be one of {', '.join(choices)}; got {value!r}."
        )


def _check_frames(frames: str | None, has_files: bool) -> None:
    if frames is None:
        return
    if frames != "all" and not re.fullmatch("[0-9]{1,9}", frames):
        raise BenchError(
            f"--frames must be a number, counted from 0, or all; got {frames!r}."
        )
    if not has_files:
        raise BenchError("--frames selects structures of --structure FILE; add it.")


def _open_models(paths: list[Path], require_charges: bool) -> "list[Model]":
    from bench.dynamics.study.models import open_models

    models = open_models(paths)
    without = [m.name for m in models if not m.potential.backbone.has_charges]
    if require_charges and without:
        raise BenchError(
            f"{without[0]} has no charges, because it has no long-range layer with "
            "charges: remove it, or drop --require-charges."
        )
    return models


def _list_simulations(
    models: "list[Model]",
    files: Sequence[Path],
    total_charge: float | None,
    spin: int,
    frames: str | None,
) -> "list[SimulationInputs]":
    from bench.dynamics.study.structures import list_simulations, read_structures

    return list_simulations(models, read_structures(files, total_charge, spin, frames))


def _simulate(
    simulations: "list[SimulationInputs]",
    setting_values: dict[str, Any],
    out: Path,
    reference: Path | None,
    jobs: int,
) -> None:
    from rich.console import Console

    from bench.dynamics.study.structure_files import read_frames

    console = Console()
    frames = read_frames(reference) if reference else ()
    enable_compilation_cache()
    if importlib.util.find_spec("jax_md") is None:
        raise BenchError(
            "`bench md` needs jax-md: install the optional dependencies, bench[md]."
        )
    announce("loading jax-md")
    # Imported after the checks above: it takes seconds.
    from bench.dynamics.page.page import write_page
    from bench.dynamics.page.table import summary_line
    from bench.dynamics.study.protocol import SimulationSettings, timestep_warning
    from bench.dynamics.study.study import run_study

    settings = SimulationSettings(**setting_values)
    for initial in dict.fromkeys(initial for _, initial in simulations):
        warning = timestep_warning(initial.atoms, settings.timestep)
        if warning:
            console.print(f"Warning: {warning}", highlight=False, soft_wrap=True)
    results, failures = run_study(
        simulations, settings, out, _callback(console), reference=frames, jobs=jobs
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
