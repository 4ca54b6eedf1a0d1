"""One structure in one model: checks before, phases, what the frames say."""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.calculators.calculator import CalculationFailed
from backbones import Calculator, Structure

from bench.dynamics.checks.potential import dimer_checks, force_checks, scan_dimers
from bench.dynamics.engine.interaction import interaction
from bench.dynamics.study.cases import Case
from bench.dynamics.study.models import Model
from bench.dynamics.study.observables import (
    Radial,
    charges_along,
    overlap_error,
    radial_distribution,
)
from bench.dynamics.study.phase import PhaseCallback, Subject, run_phase
from bench.dynamics.study.protocol import Settings, timestep_warning
from bench.dynamics.study.recording import RESULT, check_claim, write_json
from bench.dynamics.study.relaxation import relaxed
from bench.dynamics.study.result_files import read_phase
from bench.dynamics.study.spectra import spectra


def simulated(
    model: Model,
    case: Case,
    settings: Settings,
    place: Path,
    callback: PhaseCallback,
    target: Radial | None = None,
) -> dict[str, Any]:
    """Simulates one structure in one model, or goes on with it.

    Args:
        model: a potential.
        case: a structure of elements it knows.
        settings: chosen.
        place: folder of the pair.
        callback: see `PhaseCallback`.
        target: distribution of distances to compare with.

    Returns:
        As written to `result.json`.

    Raises:
        BenchError: the folder belongs to another model or structure.
    """
    began = time.perf_counter()
    made_from = claim(place, model, case.structure)
    atoms, structure = case.atoms, case.structure
    calculator = Calculator(
        model.potential, total_charge=structure.total_charge, spin=structure.spin
    )
    evaluate = _evaluation(calculator)
    checks = [
        *force_checks(evaluate, atoms),
        *dimer_checks(scan_dimers(model.potential, structure.numbers)),
    ]
    needed = [check for check in checks if check.name != "dimers"]
    rest = None
    if settings.relax:
        rest = relaxed(atoms, calculator, settings.relaxing_steps, place, callback)
    start, sound = (atoms, True) if rest is None else (rest.atoms, rest.intact)
    subject = Subject(
        start,
        interaction(model.potential, structure),
        evaluate(start)[1],
        dtype=np.dtype(model.potential.scale.dtype),
    )
    subject = dataclasses.replace(subject, made_from=made_from)
    phases = _phases(subject, settings, place, callback, sound)
    found = {
        "model": model.name,
        "structure": case.name,
        "formula": atoms.get_chemical_formula(),
        "atoms": len(atoms),
        "periodic": structure.cell is not None,
        "total_charge": structure.total_charge,
        "warning": timestep_warning(atoms, settings.timestep),
        "prechecks": [check._asdict() for check in checks],
        "relaxation": None if rest is None else rest.outcome,
        "phases": phases,
        "passed": all(p["passed"] for p in phases) and all(c.passed for c in needed),
        "charges": None,
    }
    frames = _frames(place, "nvt")
    if model.potential.backbone.has_charges and frames:
        told = charges_along(frames, calculator, structure.total_charge)
        # Attention has the place for charges, and leaves it empty.
        found["charges"] = told if told["least"] < told["most"] else None
    found["radial"] = _distances(frames, target)
    charged = None if found["charges"] is None else calculator
    at_rest = dataclasses.replace(structure, positions=start.positions)
    interval = settings.looks * settings.timestep
    found |= spectra(place / "nve", at_rest, interval, charged)
    found["seconds"] = time.perf_counter() - began
    write_json(place / RESULT, found)
    return found


def claim(place: Path, model: Model, structure: Structure) -> dict[str, Any]:
    """Makes a folder that of one model and one structure, whatever their names.

    Args:
        place: of the pair.
        model: a potential.
        structure: to simulate.

    Returns:
        Digests of both, and of the model's data and split.

    Raises:
        BenchError: the folder belongs to another model or structure.
    """
    parts = structure.numbers, structure.positions, structure.cell
    told = b"".join(np.asarray(p).tobytes() for p in parts if p is not None)
    told += repr((structure.total_charge, structure.spin)).encode()
    digest = hashlib.sha256(told).hexdigest()[:16]
    values = {**model.made_from, "structure": digest}
    kind = "a simulation of another model or structure of that name"
    check_claim(place, "pair.json", values, kind)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "pair.json", values)
    return values


def _evaluation(
    calculator: Calculator,
) -> Callable[[ase.Atoms], tuple[float, np.ndarray]]:
    def evaluate(atoms: ase.Atoms) -> tuple[float, np.ndarray]:
        found: Any = calculator
        try:
            energy = float(found.get_property("energy", atoms))
        except CalculationFailed:
            return np.nan, np.full_like(atoms.positions, np.nan)
        return energy, np.asarray(found.get_property("forces", atoms))

    return evaluate


def _phases(
    subject: Subject,
    settings: Settings,
    place: Path,
    callback: PhaseCallback,
    sound: bool,
) -> list[dict[str, Any]]:
    """Results of the phases; one whose forerunner failed everywhere is not started."""
    results: dict[str, dict[str, Any]] = {}
    for phase in settings.phases(subject.cell is not None):
        intact = [sound] * settings.replicas
        if phase.after:
            before = results[phase.after]["replicas"]
            intact = [replica["cause"] is None for replica in before]
        path = place / phase.name / RESULT
        if path.exists():
            results[phase.name] = read_phase(path)
        else:
            results[phase.name] = run_phase(
                subject, phase, settings, place, callback, start=intact
            )
    return list(results.values())


def _distances(frames: list[ase.Atoms], target: Radial | None):
    """The radial distribution at constant temperature, and how far it is off."""
    if not frames:
        return None
    found = radial_distribution(frames)
    told: dict[str, Any] = {
        "r": found.centres.tolist(),
        "g": found.values.tolist(),
        "error": None,
    }
    if target is not None:
        told |= {"reference": target.values.tolist()}
        told["error"] = overlap_error(found, target)
    return told


def _frames(place: Path, phase: str) -> list[ase.Atoms]:
    path = place / phase / "trajectory.extxyz"
    if not path.exists() or not path.stat().st_size:
        return []
    frames: Any = ase.io.read(path, ":", format="extxyz")
    return frames
