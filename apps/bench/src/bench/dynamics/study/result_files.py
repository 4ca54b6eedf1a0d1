"""Result files of simulations, validated when they are read."""

import json
from pathlib import Path
from typing import Any

import pydantic

from bench.exceptions import BenchError
from bench.files import write_text
from bench.settings.parsing import read_checked

RESULT, CHECKPOINT, RELAXATION = "result.json", "checkpoint.npz", "relaxation.json"
"""Names of the files with the result of a simulation or stage, the checkpoint of a
stage, and the result of a relaxation."""


class _ReplicaResult(pydantic.BaseModel):
    survived_ps: float
    cause: str | None
    detail: str | None
    drift_meV_atom_ps: float = 0.0
    energy_change_over_kinetic_std: float = 0.0
    final_target_temperature_K: float = 0.0


class _StageResult(pydantic.BaseModel):
    name: str
    start_temperature_K: float
    end_temperature_K: float
    duration_ps: float
    passed: bool
    replicas: list[_ReplicaResult] = pydantic.Field(min_length=1)
    steps_per_second: float | None


class _Relaxation(pydantic.BaseModel):
    steps: int
    cause: str | None
    detail: str | None
    max_force_eV_A: float
    energy_change_meV_atom: float
    max_displacement_A: float


class _Precheck(pydantic.BaseModel):
    name: str
    passed: bool
    value: float
    detail: str


class _Charges(pydantic.BaseModel):
    min: float
    max: float
    max_total_error: float
    mean_change_between_halves: float


class _RadialDistribution(pydantic.BaseModel):
    r: list[float]
    g: list[float]
    error: float | None
    reference: list[float] = []


class _Vibrations(pydantic.BaseModel):
    wavenumbers: list[float]
    density_of_states: list[float]


class _Infrared(pydantic.BaseModel):
    wavenumbers: list[float]
    intensity: list[float]


class _SimulationResult(pydantic.BaseModel):
    model: str
    structure: str
    n_atoms: int = pydantic.Field(ge=1)
    periodic: bool
    warning: str | None
    prechecks: list[_Precheck]
    relaxation: _Relaxation | None
    stages: list[_StageResult]
    charges: _Charges | None
    radial_distribution: _RadialDistribution | None
    vibrations: _Vibrations | None
    infrared: _Infrared | None


def read_simulation(path: Path, model: str, structure: str) -> dict[str, Any]:
    """Reads the result of the simulation of one structure with one model.

    Args:
        path: path of `result.json`.
        model: name of the model.
        structure: name of the structure.

    Raises:
        BenchError: the file is damaged or belongs to another simulation.
    """
    remedy = "delete it to repeat this simulation."
    result = read_checked(path, _SimulationResult, remedy)
    stages = {stage["name"] for stage in result["stages"]}
    same = (result["model"], result["structure"]) == (model, structure)
    if not same or not {"nvt", "nve", "ramp"} <= stages:
        raise BenchError(
            f"{path} is not the result of {structure} with {model}: {remedy}"
        )
    return result


def read_stage(path: Path) -> dict[str, Any]:
    """Reads the result of a stage.

    Args:
        path: path of its `result.json`.

    Raises:
        BenchError: the file is damaged.
    """
    remedy = f"delete {path.parent} to simulate it again."
    return read_checked(path, _StageResult, remedy)


def read_relaxation(path: Path) -> dict[str, Any]:
    """Reads the result of a relaxation.

    Args:
        path: path of `relaxation.json`.

    Raises:
        BenchError: the file is damaged.
    """
    return read_checked(path, _Relaxation, "delete it to relax the structure again.")


def write_json(path: Path, values: Any) -> None:
    """Writes JSON atomically.

    Args:
        path: path of the file.
        values: values to write.
    """
    write_text(path, json.dumps(values, indent=1))
