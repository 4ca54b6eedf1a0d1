"""Stability simulations from Python."""

import os
from collections.abc import Sequence
from pathlib import Path

import ase
from backbones import Structure

from bench.dynamics.study.models import open_models
from bench.dynamics.study.structures import (
    InitialStructure,
    list_simulations,
    read_structures,
)
from bench.dynamics.study.study import StudyResult, run_study
from bench.exceptions import BenchError, one_line
from bench.settings.simulation import SimulationSettings, StructureSettings


def simulate(
    models: str | os.PathLike | Sequence[str | os.PathLike],
    structures: ase.Atoms
    | Sequence[ase.Atoms]
    | str
    | os.PathLike
    | StructureSettings
    | None,
    out: str | os.PathLike,
    settings: SimulationSettings | None = None,
    *,
    jobs: int = 1,
) -> StudyResult:
    """Runs the stability simulations of `bench md`; resumes where a call stopped.

    Each structure is relaxed with each model, then simulated with a thermostat, at
    constant energy, during heating and, if periodic, at constant pressure.

    Args:
        models: folders of runs or grids, or files of `backbones.save`.
        structures: ASE objects (total charge, e, in `info["total_charge"]`, 0 if
            absent), a file of structures, settings of the structures of several files,
            or None for structures that the models were tested on.
        out: folder of the results, one subfolder per model and structure.
        settings: durations, temperatures, thermostat; None for the defaults.
        jobs: number of simulations at the same time, each in its own process. With more
            than one, scripts need an `if __name__ == "__main__":` guard.

    Returns:
        Results, as in each `result.json`, and the reasons of the failures by name.

    Raises:
        BenchError: a model or structure cannot be used, or the folder belongs to other
            settings.

    Examples:
        >>> import ase.io
        >>> atoms = ase.io.read("mine.extxyz")
        >>> settings = bench.SimulationSettings(mode="dev")
        >>> study = bench.simulate("runs/mine", atoms, "runs/md", settings)
        >>> [stage["name"] for stage in study.results[0]["stages"]]
    """
    paths = [models] if isinstance(models, str | os.PathLike) else models
    opened = open_models([Path(path) for path in paths])
    simulations = list_simulations(opened, _initial_structures(structures))
    settings = SimulationSettings() if settings is None else settings
    return run_study(
        simulations, settings, Path(out), lambda *progress: None, jobs=jobs
    )


def _initial_structures(
    structures: ase.Atoms
    | Sequence[ase.Atoms]
    | str
    | os.PathLike
    | StructureSettings
    | None,
) -> list[InitialStructure]:
    if structures is None:
        return []
    if isinstance(structures, StructureSettings):
        return read_structures(structures)
    if isinstance(structures, str | os.PathLike):
        return read_structures(
            StructureSettings(files=(Path(structures),), frames="all")
        )
    atoms_list = [structures] if isinstance(structures, ase.Atoms) else structures
    return [
        InitialStructure(f"structure-{i}", _structure(i, atoms))
        for i, atoms in enumerate(atoms_list)
    ]


def _structure(index: int, atoms: ase.Atoms) -> Structure:
    charge = atoms.info.get("total_charge", 0.0)
    try:
        return Structure.from_ase(atoms, total_charge=charge)
    except ValueError as error:
        raise BenchError(f"Structure {index}: {one_line(error)}") from error
