"""What simulations leave on disk, checked as it is read."""

from pathlib import Path
from typing import Any

import pydantic

from bench.exceptions import BenchError
from bench.settings.parsing import read_checked


class _Replica(pydantic.BaseModel):
    survived_ps: float
    cause: str | None
    detail: str | None
    drift_meV_atom_ps: float = 0.0
    drift_ratio: float = 0.0
    last_target_K: float = 0.0


class _Phase(pydantic.BaseModel):
    name: str
    start: float
    end: float
    picoseconds: float
    passed: bool
    replicas: list[_Replica] = pydantic.Field(min_length=1)
    steps_per_second: float | None


class _Relaxation(pydantic.BaseModel):
    steps: int
    cause: str | None
    detail: str | None
    largest_force: float
    energy_meV_atom: float
    moved: float


class _Check(pydantic.BaseModel):
    name: str
    passed: bool
    value: float
    detail: str


class _Charges(pydantic.BaseModel):
    least: float
    most: float
    largest_total_error: float
    mean_change: float


class _Radial(pydantic.BaseModel):
    r: list[float]
    g: list[float]
    error: float | None
    reference: list[float] = []


class _Vibrations(pydantic.BaseModel):
    waves: list[float]
    density: list[float]


class _Infrared(pydantic.BaseModel):
    waves: list[float]
    intensity: list[float]


class _Result(pydantic.BaseModel):
    model: str
    structure: str
    atoms: int = pydantic.Field(ge=1)
    periodic: bool
    warning: str | None
    prechecks: list[_Check]
    relaxation: _Relaxation | None
    phases: list[_Phase]
    charges: _Charges | None
    radial: _Radial | None
    vibrations: _Vibrations | None
    infrared: _Infrared | None


def read_pair(path: Path, model: str, structure: str) -> dict[str, Any]:
    """The result of a structure in a model.

    Args:
        path: of `result.json`.
        model: its name.
        structure: its name.

    Raises:
        BenchError: the file is damaged, or of another pair.
    """
    remedy = "delete it to simulate this pair again."
    found = read_checked(path, _Result, remedy)
    names = {phase["name"] for phase in found["phases"]}
    same = (found["model"], found["structure"]) == (model, structure)
    if not same or not {"nvt", "nve", "ramp"} <= names:
        raise BenchError(f"{path} is not of {model} with {structure}: {remedy}")
    return found


def read_phase(path: Path) -> dict[str, Any]:
    """The result of a phase.

    Args:
        path: of its `result.json`.

    Raises:
        BenchError: the file is damaged.
    """
    return read_checked(path, _Phase, f"delete {path.parent} to simulate it again.")


def read_relaxation(path: Path) -> dict[str, Any]:
    """How a relaxation ended.

    Args:
        path: of `relaxation.json`.

    Raises:
        BenchError: the file is damaged.
    """
    return read_checked(path, _Relaxation, "delete it to relax the structure again.")
