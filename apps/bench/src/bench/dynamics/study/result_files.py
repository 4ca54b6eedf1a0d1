"""Result files of simulations, validated when they are read."""

import json
from pathlib import Path
from typing import Any

import pydantic

from bench.exceptions import BenchError
from bench.files import write_text
from bench.settings.parsing import read_checked

RESULT, CHECKPOINT, RELAXATION = "result.json", "checkpoint.npz", "relaxation.json"
"""File names of a pair's or stage's result, a stage's checkpoint, a relaxation."""


class _ReplicaResult(pydantic.BaseModel):
    survived_ps: float
    cause: str | None
    detail: str | None
    drift_meV_atom_ps: float = 0.0
    drift_ratio: float = 0.0
    last_target_K: float = 0.0


class _StageResult(pydantic.BaseModel):
    name: str
    start_temperature: float
    end_temperature: float
    picoseconds: float
    passed: bool
    replicas: list[_ReplicaResult] = pydantic.Field(min_length=1)
    steps_per_second: float | None


class _Relaxation(pydantic.BaseModel):
    steps: int
    cause: str | None
    detail: str | None
    max_force: float
    energy_change_meV_atom: float
    max_displacement: float


class _Precheck(pydantic.BaseModel):
    name: str
    passed: bool
    value: float
    detail: str


class _Charges(pydantic.BaseModel):
    min: float
    max: float
    max_total_error: float
    mean_change: float


class _RadialDistribution(pydantic.BaseModel):
    r: list[float]
    g: list[float]
    error: float | None
    reference: list[float] = []


class _Vibrations(pydantic.BaseModel):
    wavenumbers: list[float]
    density: list[float]


class _Infrared(pydantic.BaseModel):
    wavenumbers: list[float]
    intensity: list[float]


class _PairResult(pydantic.BaseModel):
    model: str
    structure: str
    atoms: int = pydantic.Field(ge=1)
    periodic: bool
    warning: str | None
    prechecks: list[_Precheck]
    relaxation: _Relaxation | None
    stages: list[_StageResult]
    charges: _Charges | None
    radial_distribution: _RadialDistribution | None
    vibrations: _Vibrations | None
    infrared: _Infrared | None


def read_pair(path: Path, model: str, structure: str) -> dict[str, Any]:
    """Reads the result of one structure with one model.

    Args:
        path: of `result.json`.
        model: its name.
        structure: its name.

    Raises:
        BenchError: the file is damaged or belongs to another pair.
    """
    remedy = "delete it to simulate this pair again."
    result = read_checked(path, _PairResult, remedy)
    stages = {stage["name"] for stage in result["stages"]}
    same = (result["model"], result["structure"]) == (model, structure)
    if not same or not {"nvt", "nve", "ramp"} <= stages:
        raise BenchError(f"{path} is not of {model} with {structure}: {remedy}")
    return result


def read_stage(path: Path) -> dict[str, Any]:
    """Reads the result of a stage.

    Args:
        path: of its `result.json`.

    Raises:
        BenchError: the file is damaged.
    """
    remedy = f"delete {path.parent} to simulate it again."
    return read_checked(path, _StageResult, remedy)


def read_relaxation(path: Path) -> dict[str, Any]:
    """Reads the result of a relaxation.

    Args:
        path: of `relaxation.json`.

    Raises:
        BenchError: the file is damaged.
    """
    return read_checked(path, _Relaxation, "delete it to relax the structure again.")


def write_json(path: Path, values: Any) -> None:
    """Writes JSON atomically.

    Args:
        path: of the file.
        values: to write.
    """
    write_text(path, json.dumps(values, indent=1))
