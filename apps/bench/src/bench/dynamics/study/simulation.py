"""Simulation of one structure with one model: prechecks, stages, analysis."""

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

from bench.dynamics.checks.prechecks import (
    Precheck,
    check_dimers,
    check_forces,
    scan_dimers,
)
from bench.dynamics.engine.interaction import make_interaction
from bench.dynamics.study.folders import claim_folder
from bench.dynamics.study.models import Model
from bench.dynamics.study.observables import (
    RadialDistribution,
    charge_statistics,
    overlap_error,
    radial_distribution,
)
from bench.dynamics.study.protocol import timestep_warning
from bench.dynamics.study.relaxation import relax
from bench.dynamics.study.result_files import RESULT, read_stage, write_json
from bench.dynamics.study.spectra import compute_spectra
from bench.dynamics.study.stage import StageCallback, System, run_stage
from bench.dynamics.study.structures import InitialStructure
from bench.settings.simulation import SimulationSettings


def run_simulation(
    model: Model,
    initial: InitialStructure,
    settings: SimulationSettings,
    folder: Path,
    callback: StageCallback,
    reference: RadialDistribution | None = None,
) -> dict[str, Any]:
    """Simulates one structure with one model; continues where a call was stopped.

    Args:
        model: a trained model.
        initial: a structure of elements on which the model was trained.
        settings: settings of the simulation.
        folder: folder of the simulation.
        callback: see `StageCallback`.
        reference: radial distribution to compare with; None for no comparison.

    Returns:
        The result as in `result.json`.

    Raises:
        BenchError: the folder belongs to another model or structure.
    """
    began = time.perf_counter()
    made_from = claim_simulation_folder(folder, model, initial.structure)
    atoms, structure = initial.atoms, initial.structure
    calculator = Calculator(
        model.potential, total_charge=structure.total_charge, spin=structure.spin
    )
    evaluate = _evaluation(calculator)
    prechecks = [
        *check_forces(evaluate, atoms),
        *check_dimers(scan_dimers(model.potential, structure.numbers)),
    ]
    relaxation = None
    if settings.relax:
        steps = settings.max_relaxation_steps
        relaxation = relax(atoms, calculator, steps, folder, callback)
    start = atoms if relaxation is None else relaxation.atoms
    system = System(
        start,
        make_interaction(model.potential, structure),
        evaluate(start)[1],
        dtype=np.dtype(model.potential.scale.dtype),
        made_from=made_from,
    )
    intact = relaxation is None or relaxation.passed
    stages = _run_stages(system, settings, folder, callback, intact)
    result = {
        "model": model.name,
        "structure": initial.name,
        "formula": atoms.get_chemical_formula(),
        "n_atoms": len(atoms),
        "periodic": structure.cell is not None,
        "total_charge": structure.total_charge,
        "warning": timestep_warning(atoms, settings.timestep),
        "prechecks": [check._asdict() for check in prechecks],
        "relaxation": None if relaxation is None else relaxation.result,
        "stages": stages,
        "passed": _passed(stages, prechecks),
        "charges": None,
    }
    frames = _read_frames(folder, "nvt")
    if model.potential.backbone.has_charges and frames:
        charges = charge_statistics(frames, calculator, structure.total_charge)
        # Backbones with attention have a charge output that they leave at zero.
        result["charges"] = charges if charges["min"] < charges["max"] else None
    result["radial_distribution"] = _radial_distribution(frames, reference)
    charged = None if result["charges"] is None else calculator
    relaxed = dataclasses.replace(structure, positions=start.positions)
    interval = settings.sampling_interval * settings.timestep
    result |= compute_spectra(folder / "nve", relaxed, interval, charged)
    result["seconds"] = time.perf_counter() - began
    write_json(folder / RESULT, result)
    return result


def claim_simulation_folder(
    folder: Path, model: Model, structure: Structure
) -> dict[str, Any]:
    """Creates the folder of a simulation, or checks its model and structure.

    Args:
        folder: folder of the simulation.
        model: a trained model.
        structure: structure to simulate.

    Returns:
        Digests of model, data, split and structure.

    Raises:
        BenchError: the folder belongs to another model or structure.
    """
    arrays = structure.numbers, structure.positions, structure.cell
    content = b"".join(np.asarray(a).tobytes() for a in arrays if a is not None)
    content += repr((structure.total_charge, structure.spin)).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    inputs = {**model.made_from, "structure": digest}
    description = "a simulation of another model or structure with this name"
    claim_folder(folder, "simulation.json", inputs, description)
    return inputs


def _evaluation(
    calculator: Calculator,
) -> Callable[[ase.Atoms], tuple[float, np.ndarray]]:
    """Returns a function of energy and forces; both are NaN if not finite."""

    def evaluate(atoms: ase.Atoms) -> tuple[float, np.ndarray]:
        # ASE's annotations exclude the numbers that `get_property` returns.
        untyped: Any = calculator
        try:
            energy = float(untyped.get_property("energy", atoms))
        except CalculationFailed:
            return np.nan, np.full_like(atoms.positions, np.nan)
        return energy, np.asarray(untyped.get_property("forces", atoms))

    return evaluate


def _run_stages(
    system: System,
    settings: SimulationSettings,
    folder: Path,
    callback: StageCallback,
    intact: bool,
) -> list[dict[str, Any]]:
    """Returns the results of all stages; finished ones are read from their files."""
    results: dict[str, dict[str, Any]] = {}
    for stage in settings.stages(system.cell is not None):
        start = [intact] * settings.replicas
        if stage.after:
            previous = results[stage.after]["replicas"]
            start = [replica["cause"] is None for replica in previous]
        path = folder / stage.name / RESULT
        if path.exists():
            results[stage.name] = read_stage(path)
        else:
            results[stage.name] = run_stage(
                system, stage, settings, folder, callback, start=start
            )
    return list(results.values())


def _passed(stages: list[dict[str, Any]], prechecks: list[Precheck]) -> bool:
    """Whether all stages and all prechecks passed; dimers are a warning only."""
    required = [check for check in prechecks if check.name != "dimers"]
    return all(s["passed"] for s in stages) and all(c.passed for c in required)


def _radial_distribution(
    frames: list[ase.Atoms], reference: RadialDistribution | None
) -> dict[str, Any] | None:
    """Returns the radial distribution of a trajectory and its error."""
    if not frames:
        return None
    distribution = radial_distribution(frames)
    values: dict[str, Any] = {
        "r": distribution.centers.tolist(),
        "g": distribution.values.tolist(),
        "error": None,
    }
    if reference is not None:
        values["reference"] = reference.values.tolist()
        values["error"] = overlap_error(distribution, reference)
    return values


def _read_frames(folder: Path, stage: str) -> list[ase.Atoms]:
    path = folder / stage / "trajectory.extxyz"
    if not path.exists() or not path.stat().st_size:
        return []
    frames: Any = ase.io.read(path, ":", format="extxyz")
    return frames
