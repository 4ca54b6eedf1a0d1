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
    from bench.dynamics.study.cases import Pair
    from bench.dynamics.study.models import Model

_MODES = ("dev", "fast", "standard")
_THERMOSTATS = ("langevin", "nose-hoover")
_BOUNDS = {
    "temperature": (0, 1e5, " K"),
    "hottest": (0, 1e5, " K"),
    "timestep": (0, 100, " fs"),
    "pressure": (-1e4, 1e4, " GPa"),
    "replicas": (1, 10_000, ""),
    "total_charge": (-1000, 1000, " e"),
    "spin": (0, 1000, ""),
    "seed": (0, 2**31 - 1, ""),
}
"""Least and most of every number, and its unit."""

_POSITIVE = ("temperature", "hottest", "timestep")


def md_command(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Folders of `bench run`, or of a run."),
    ],
    structure: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="To simulate.  \\[two of the test part]"),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="N|all", help="Which structure of files with several, from 0."
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="How long: dev (CI), fast (minutes) or standard.")
    ] = "fast",
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs/md"),
    temperature: Annotated[float, typer.Option(help="K.")] = 300.0,
    hottest: Annotated[float, typer.Option(help="End of the heating, K.")] = 1000.0,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    thermostat: Annotated[
        str, typer.Option(help="langevin, nose-hoover.")
    ] = "langevin",
    pressure: Annotated[float, typer.Option(help="GPa.")] = 0.0,
    replicas: Annotated[int, typer.Option(min=1, help="Of each, at once.")] = 1,
    relax: Annotated[
        bool, typer.Option(help="Come to rest in the model first, cell fixed.")
    ] = True,
    total_charge: Annotated[
        float | None, typer.Option(help="e.  \\[the file's, or 0]")
    ] = None,
    spin: Annotated[int, typer.Option(min=0, help="Multiplicity, 0: unknown.")] = 0,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trajectory to compare distances with."),
    ] = None,
    charges: Annotated[
        bool, typer.Option("--charges", help="Refuse models without charges.")
    ] = False,
    double: Annotated[
        bool, typer.Option("--double", help="Double precision, half as fast.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of velocities and noise.")] = 0,
    jobs: Annotated[
        int, typer.Option(min=1, help="Simulations at the same time, each a process.")
    ] = 1,
) -> None:
    """Simulates structures in trained models and says which hold, and why not."""
    _check("--mode", mode, _MODES)
    _check("--thermostat", thermostat, _THERMOSTATS)
    _check_frames(frames, bool(structure))
    given = dict(temperature=temperature, hottest=hottest, timestep=timestep)
    given |= dict(pressure=pressure, replicas=replicas, spin=spin, seed=seed)
    given |= {} if total_charge is None else {"total_charge": total_charge}
    for name, value in given.items():
        _check_number(name, value)
    if not hottest >= temperature:
        raise BenchError(
            f"--hottest is at least --temperature, {temperature:g} K; got {hottest:g}."
        )
    settings = dict(
        mode=mode,
        temperature=temperature,
        hottest=hottest,
        timestep=timestep,
        thermostat=thermostat,
        pressure=pressure,
        replicas=replicas,
        seed=seed,
        relax=relax,
    )
    for path in (*models, *(structure or ()), *([reference] if reference else ())):
        if not path.exists():
            raise BenchError(f"There is no {path}.")
    announce(f"loading JAX and {', '.join(map(str, models))}")
    # Imported late: it takes seconds.
    import jax

    try:
        with jax.enable_x64(double):
            read = structure or (), total_charge, spin, frames
            pairs = _pairs(_open(models, charges), *read)
            _simulate(pairs, settings, out, reference, jobs)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what was simulated is kept and the same command goes on from "
            "there."
        ) from None


def _check_number(name: str, value: float) -> None:
    """Refuses what no simulation can have: infinite, negative or enormous numbers."""
    least, most, unit = _BOUNDS[name]
    option = f"--{name.replace('_', '-')}"
    if name in _POSITIVE and not value > 0:
        raise BenchError(f"{option} is positive, got {value:g}.")
    if not least <= value <= most:
        raise BenchError(
            f"{option} lies between {least:g} and {most:g}{unit}, got {value:g}."
        )


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BenchError(f"{name} is one of {', '.join(known)}; got {value!r}.")


def _check_frames(frames: str | None, chosen: bool) -> None:
    if frames is None:
        return
    if frames != "all" and not re.fullmatch("[0-9]{1,9}", frames):
        raise BenchError(
            f"--frames is a number, counted from 0, or all; got {frames!r}."
        )
    if not chosen:
        raise BenchError("--frames chooses among structures of --structure FILE.")


def _open(paths: list[Path], charges: bool) -> "list[Model]":
    from bench.dynamics.study.models import open_models

    models = open_models(paths)
    without = [m.name for m in models if not m.potential.backbone.has_charges]
    if charges and without:
        raise BenchError(
            f"{without[0]} has no charges, for it has no long-range layer with them: "
            "leave it out, or --charges."
        )
    return models


def _pairs(
    models: "list[Model]",
    files: Sequence[Path],
    total_charge: float | None,
    spin: int,
    frames: str | None,
) -> "list[Pair]":
    from bench.dynamics.study.cases import paired, read_cases

    return paired(models, read_cases(files, total_charge, spin, frames))


def _simulate(
    pairs: "list[Pair]",
    settings: dict[str, Any],
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
        raise BenchError("`bench md` needs jax-md: install the extra, bench[md].")
    announce("loading jax-md")
    # It takes seconds more to load; mistakes above are told before.
    from bench.dynamics.page.page import write_page
    from bench.dynamics.page.table import line
    from bench.dynamics.study.protocol import Settings, timestep_warning
    from bench.dynamics.study.study import study

    chosen = Settings(**settings)
    for case in dict.fromkeys(case for _, case in pairs):
        warning = timestep_warning(case.atoms, chosen.timestep)
        if warning:
            console.print(f"Warning: {warning}", highlight=False, soft_wrap=True)
    results, failures = study(
        pairs, chosen, out, _tell(console), reference=frames, jobs=jobs
    )
    if results:
        for result in results:
            typer.echo(line(result))
        typer.echo(f"Page: {write_page(results, out)}")
    if failures:
        name, reason = next(iter(failures.items()))
        raise BenchError(
            f"{len(failures)} of {len(pairs)} could not be simulated. The first, "
            f"{name}: {reason}"
        )


def _tell(console):
    """A line that is written over on a terminal; elsewhere a line a quarter."""
    told: set[tuple[str, str, str, int]] = set()

    def tell(model, structure, phase, share, rate, kelvin) -> None:
        key = model, structure, phase, int(4 * share)
        if not console.is_terminal and key in told:
            return
        told.add(key)
        end = "\r" if console.is_terminal and share < 1 else "\n"
        text = f"{model}  {structure}  {phase} {100 * share:3.0f} %"
        console.print(
            f"{text}  {rate:.0f} steps/s  {kelvin:.0f} K",
            end=end,
            highlight=False,
            soft_wrap=True,
        )

    return tell
