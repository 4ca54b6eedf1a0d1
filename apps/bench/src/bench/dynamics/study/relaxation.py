"""Where a structure comes to rest in a model, before it is set in motion."""

import io
import time
from pathlib import Path
from typing import Any, NamedTuple

import ase
import ase.io
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.optimize import FIRE

from bench.dynamics.checks.causes import Look, Watch
from bench.dynamics.study.phase import PhaseCallback
from bench.dynamics.study.protocol import RESTING_FORCE
from bench.dynamics.study.recording import RELAXATION, write_json
from bench.dynamics.study.result_files import read_relaxation
from bench.exceptions import BenchError, one_line
from bench.files import write_text

_TOLD = 10
"""Steps between two words of progress."""


class Relaxed(NamedTuple):
    """A structure at rest, or where the model tore it apart."""

    atoms: ase.Atoms
    outcome: dict[str, Any]
    """Plain values for a file; `cause` is None where the structure is intact."""

    @property
    def intact(self) -> bool:
        """Whether it may be set in motion."""
        return self.outcome["cause"] is None


def relaxed(
    atoms: ase.Atoms,
    calculator: Calculator,
    steps: int,
    place: Path,
    callback: PhaseCallback,
) -> Relaxed:
    """Moves atoms downhill in a cell that stays, or reads where that came to.

    A model rests elsewhere than its training data, and what lies between is heat that
    no thermostat asked for. Where it ends is what bonds are compared with later; the
    way there is over for the same causes as a simulation, compared with `atoms`.

    Args:
        atoms: intact; periodic in all directions or in none.
        calculator: the model.
        steps: at most.
        place: folder that gets `relaxed.extxyz` and `relaxation.json`.
        callback: see `PhaseCallback`.

    References:
        Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), FIRE.
    """
    frame, told = place / "relaxed.extxyz", place / RELAXATION
    if not told.exists():
        found, outcome = _downhill(atoms, calculator, steps, callback)
        content = io.StringIO()
        ase.io.write(content, found, format="extxyz")
        write_text(frame, content.getvalue())
        write_json(told, outcome)
    outcome = read_relaxation(told)
    try:
        stored: Any = ase.io.read(frame, format="extxyz")
    except Exception as error:  # ASE's readers raise whatever they like
        raise BenchError(
            f"{frame} is damaged ({one_line(error)}): delete {told} to relax the "
            "structure again."
        ) from error
    return Relaxed(_bare(stored), outcome)


def _downhill(
    atoms: ase.Atoms, calculator: Calculator, steps: int, callback: PhaseCallback
) -> tuple[ase.Atoms, dict[str, Any]]:
    watch = Watch(atoms, 3 * len(atoms))
    moving, failure = _bare(atoms), None
    energies: list[float] = []
    moving.calc = calculator
    fire, began = FIRE(moving, logfile=None), time.perf_counter()
    try:
        for _ in fire.irun(fmax=RESTING_FORCE, steps=steps):
            energies.append(float(moving.get_potential_energy()))
            # The energy may fall as fast as it likes: that is what this is for.
            failure = watch.failure(_look(moving, energies[-1]), None)
            if failure is not None:
                break
            if fire.nsteps and fire.nsteps % _TOLD == 0:
                rate = fire.nsteps / (time.perf_counter() - began)
                callback("relax", fire.nsteps / steps, rate, 0.0)
        last = moving.get_forces()
    except CalculationFailed:
        energies.append(np.nan)
        failure = watch.failure(_look(moving, np.nan), None)
        last = np.full_like(moving.positions, np.nan)
    outcome = {
        "steps": fire.nsteps,
        "cause": None if failure is None else failure.cause,
        "detail": None if failure is None else failure.detail,
        "largest_force": float(np.linalg.norm(last, axis=1).max()),
        "energy_meV_atom": 1000 * (energies[-1] - energies[0]) / len(atoms),
        "moved": _farthest(atoms, moving),
    }
    return _bare(moving), outcome


def _look(atoms: ase.Atoms, energy: float) -> Look:
    """Nothing that has a temperature."""
    box = atoms.cell.array if atoms.pbc.all() else None
    return Look(atoms.positions, box, energy, 0.0, 0.0)


def _farthest(before: ase.Atoms, after: ase.Atoms) -> float:
    """The largest displacement, Å, without that of the whole."""
    moved = after.positions - before.positions
    return float(np.linalg.norm(moved - moved.mean(0), axis=1).max())


def _bare(atoms: ase.Atoms) -> ase.Atoms:
    """Elements, positions and cell alone."""
    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
