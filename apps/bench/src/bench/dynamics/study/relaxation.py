"""Relaxation of a structure with a model, before the simulation."""

import io
import time
from pathlib import Path
from typing import Any, NamedTuple

import ase
import ase.io
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.optimize import FIRE

from bench.dynamics.checks.stability import Observation, StabilityMonitor
from bench.dynamics.study.protocol import FORCE_TOLERANCE
from bench.dynamics.study.result_files import RELAXATION, read_relaxation, write_json
from bench.dynamics.study.stage import StageCallback
from bench.exceptions import BenchError, one_line
from bench.files import write_text

_CALLBACK_INTERVAL = 10
"""Steps between two calls of the callback."""


class Relaxation(NamedTuple):
    """A relaxed structure, or the structure at which the relaxation failed."""

    atoms: ase.Atoms
    result: dict[str, Any]
    """As in `relaxation.json`; `cause` is None if the relaxation did not fail."""

    @property
    def passed(self) -> bool:
        """Whether no failure cause was detected."""
        return self.result["cause"] is None


def relax(
    atoms: ase.Atoms,
    calculator: Calculator,
    steps: int,
    folder: Path,
    callback: StageCallback,
) -> Relaxation:
    """Relaxes a structure at fixed cell with FIRE, or reads an earlier relaxation.

    The minimum of a model differs from its training data; without relaxation the
    difference in energy would heat the simulation. The relaxation stops for the same
    failure causes as a simulation, relative to `atoms`; the simulation compares bonds
    with the relaxed structure.

    Args:
        atoms: initial structure, periodic in all directions or in none.
        calculator: the model.
        steps: largest number of steps.
        folder: folder of `relaxed.extxyz` and `relaxation.json`.
        callback: see `StageCallback`.

    Raises:
        BenchError: the files of an earlier relaxation are damaged.

    References:
        Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), FIRE.
    """
    structure_path, result_path = folder / "relaxed.extxyz", folder / RELAXATION
    if not result_path.exists():
        relaxed, result = _minimize(atoms, calculator, steps, callback)
        content = io.StringIO()
        ase.io.write(content, relaxed, format="extxyz")
        write_text(structure_path, content.getvalue())
        write_json(result_path, result)
    result = read_relaxation(result_path)
    try:
        stored: Any = ase.io.read(structure_path, format="extxyz")
    except Exception as error:  # ASE's readers raise errors of any type
        raise BenchError(
            f"{structure_path} is damaged ({one_line(error)}): delete {result_path} to "
            "relax the structure again."
        ) from error
    return Relaxation(_without_results(stored), result)


def _minimize(
    atoms: ase.Atoms, calculator: Calculator, steps: int, callback: StageCallback
) -> tuple[ase.Atoms, dict[str, Any]]:
    monitor = StabilityMonitor(atoms, 3 * len(atoms))
    relaxed, failure = _without_results(atoms), None
    energies: list[float] = []
    relaxed.calc = calculator
    began = time.perf_counter()
    fire = FIRE(relaxed, logfile=None)  # pyright: ignore[reportArgumentType]
    try:
        for _ in fire.irun(fmax=FORCE_TOLERANCE, steps=steps):
            energies.append(float(relaxed.get_potential_energy()))
            # No previous energy is passed: a large decrease is no failure here.
            failure = monitor.failure(_observation(relaxed, energies[-1]), None)
            if failure is not None:
                break
            if fire.nsteps and fire.nsteps % _CALLBACK_INTERVAL == 0:
                rate = fire.nsteps / (time.perf_counter() - began)
                callback("relax", fire.nsteps / steps, rate, 0.0)
        forces = relaxed.get_forces()
    except CalculationFailed:
        energies.append(np.nan)
        failure = monitor.failure(_observation(relaxed, np.nan), None)
        forces = np.full_like(relaxed.positions, np.nan)
    result = {
        "steps": fire.nsteps,
        "cause": None if failure is None else failure.cause,
        "detail": None if failure is None else failure.detail,
        "max_force_eV_A": float(np.linalg.norm(forces, axis=1).max()),
        "energy_change_meV_atom": 1000 * (energies[-1] - energies[0]) / len(atoms),
        "max_displacement_A": _max_displacement(atoms, relaxed),
    }
    return _without_results(relaxed), result


def _observation(atoms: ase.Atoms, energy: float) -> Observation:
    """At zero temperature."""
    box = atoms.cell.array if atoms.pbc.all() else None
    return Observation(atoms.positions, box, energy, 0.0, 0.0)


def _max_displacement(before: ase.Atoms, after: ase.Atoms) -> float:
    """The largest displacement relative to the mean displacement, Å."""
    displacements = after.positions - before.positions
    relative = displacements - displacements.mean(0)
    return float(np.linalg.norm(relative, axis=1).max())


def _without_results(atoms: ase.Atoms) -> ase.Atoms:
    """Copies elements, positions and cell."""
    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
