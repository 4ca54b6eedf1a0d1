"""Settings of `bench md`: models, structures and the simulations of each pair."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from bench.settings.choices import Mode
from bench.settings.schema import Strict

Temperature = Annotated[float, pydantic.Field(gt=0, le=1e5)]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One part of a simulation, in one ensemble.

    Args:
        name: name of the stage in tables and folders.
        ensemble: `langevin`, `nose-hoover`, `nve` or `npt`.
        duration_ps: duration, ps.
        start_temperature_K: target temperature at the start, K.
        end_temperature_K: target temperature at the end, K; the target changes linearly
            in time.
        after: name of the stage from whose last frame this one starts; empty for the
            initial structure.
    """

    name: str
    ensemble: str
    duration_ps: float
    start_temperature_K: float
    end_temperature_K: float
    after: str


class SimulationSettings(Strict):
    """Stages, thermostat and time step of every simulation."""

    mode: Mode = "fast"
    """Durations of the stages: `dev` (CI), `fast` (minutes) or `standard`."""
    temperature: Temperature = 300.0
    """Target temperature, at which the heating ramp starts, K."""
    ramp_to: Temperature = 1000.0
    """Final temperature of the heating ramp, K."""
    timestep: float = pydantic.Field(default=0.5, gt=0, le=100)
    """Time step, fs."""
    thermostat: Literal["langevin", "nose-hoover"] = "langevin"
    pressure: float = pydantic.Field(default=0.0, ge=-1e4, le=1e4)
    """Pressure of the constant-pressure stage of periodic structures, GPa."""
    replicas: int = pydantic.Field(default=1, ge=1, le=10_000)
    """Number of simulations of each structure."""
    relax: bool = True
    """Relax with the model first, at fixed cell."""
    seed: int = pydantic.Field(default=0, ge=0, lt=2**31)
    """Random seed of velocities and noise."""
    sampling_interval: int = pydantic.Field(default=8, ge=1, le=1_000_000)
    """Steps between two observations."""
    frame_interval: int = pydantic.Field(default=12, ge=1, le=1_000_000)
    """Observations between two frames of a trajectory, and between two checkpoints."""

    @pydantic.model_validator(mode="after")
    def _check_ramp(self) -> "SimulationSettings":
        if self.ramp_to < self.temperature:
            raise ValueError(
                f"ramp_to must be at least temperature, {self.temperature:g} K; got "
                f"{self.ramp_to:g}"
            )
        return self

    @property
    def max_relaxation_steps(self) -> int:
        """Largest number of steps of the relaxation."""
        return _RELAXATION_STEPS[self.mode]

    def stages(self, periodic: bool) -> list[Stage]:
        """Returns the stages: thermostat, constant energy, heating, constant pressure.

        Args:
            periodic: whether the structure has a cell; constant pressure needs one.
        """
        nvt, nve, ramp, npt = _DURATIONS_PS[self.mode]
        start, end = self.temperature, self.ramp_to
        stages = [
            Stage("nvt", self.thermostat, nvt, start, start, ""),
            Stage("nve", "nve", nve, start, start, "nvt"),
            Stage("ramp", self.thermostat, ramp, start, end, "nvt"),
        ]
        if periodic:
            stages.append(Stage("npt", "npt", npt, start, start, "nvt"))
        return stages


_DURATIONS_PS: dict[Mode, tuple[float, float, float, float]] = {
    "dev": (0.05, 0.05, 0.05, 0.02),
    "fast": (0.5, 0.5, 0.5, 0.1),
    "standard": (10.0, 5.0, 20.0, 10.0),
}
"""Durations of thermostat, constant energy, heating and constant pressure, ps."""

_RELAXATION_STEPS: dict[Mode, int] = {"dev": 20, "fast": 500, "standard": 2000}


def _check_frames(value: Any) -> Any:
    is_index = isinstance(value, int) and 0 <= value < 10**9
    if value is None or value == "all" or is_index:
        return value
    raise ValueError("expected a number, counted from 0, or `all`")


class StructureSettings(Strict):
    """Structures to simulate; without files, some of the test set of the models."""

    files: tuple[Path, ...] = ()
    """Files in the formats of `bench prepare`, such as CIF or extended XYZ, relative to
    the working directory."""
    frames: Annotated[
        int | Literal["all"] | None, pydantic.BeforeValidator(_check_frames)
    ] = None
    """Index in a file with several structures, from 0, or `all`."""
    total_charge: float | None = pydantic.Field(default=None, ge=-1000, le=1000)
    """Total charge of all files, e; null uses `total_charge` of the file, or 0."""
    spin: int = pydantic.Field(default=0, ge=0, le=1000)
    """Spin multiplicity; 0 if unknown."""

    @pydantic.model_validator(mode="after")
    def _check_files(self) -> "StructureSettings":
        if self.frames is not None and not self.files:
            raise ValueError("`frames` selects structures of `files`; add them")
        return self


class StudySettings(Strict):
    """Settings of `bench md md.yaml`; every key but `models` may be left out."""

    models: Annotated[tuple[Path, ...], pydantic.Field(min_length=1)]
    """Folders of `bench run` or of single runs, or files of models, relative to the
    working directory."""
    reference: Path | None = None
    """Trajectory whose radial distribution is compared."""
    require_charges: bool = False
    """Reject models without charges."""
    double: bool = False
    """Double precision, half as fast."""
    structures: StructureSettings = StructureSettings()
    simulation: SimulationSettings = SimulationSettings()
