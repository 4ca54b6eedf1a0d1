"""Stages of a simulation and their settings."""

import dataclasses
from typing import Literal

import ase
from ase import units

Mode = Literal["dev", "fast", "standard"]

# A tenth of the period of bonds to hydrogen, which is 9 to 11 fs.
_HYDROGEN_TIMESTEP = 1.0
# The same for bonds among carbon, nitrogen and oxygen.
_OTHER_TIMESTEP = 2.0

MAX_DRIFT = 0.5
"""Largest drift of the conserved energy of a passed stage, meV/atom/ps."""
MAX_ENERGY_CHANGE_OVER_KINETIC_STD = 1.0
"""Largest change of the conserved energy of a passed stage over the standard deviation
of the kinetic energy."""

FORCE_TOLERANCE = 0.05
"""Largest force on an atom of a relaxed structure, eV/Å (`fmax` of ASE)."""


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


@dataclasses.dataclass(frozen=True)
class SimulationSettings:
    """Settings of a simulation.

    Args:
        mode: durations of the stages, `dev`, `fast` or `standard`.
        temperature: target temperature, at which the heating ramp starts, K.
        ramp_to: final temperature of the heating ramp, K.
        timestep: time step, fs.
        replicas: number of simulations of each structure.
        thermostat: `langevin` or `nose-hoover`.
        pressure: pressure of the constant-pressure stage, GPa.
        sampling_interval: steps between two observations.
        frame_interval: observations between two frames of the trajectory, and between
            two checkpoints.
        seed: random seed of velocities and noise.
        relax: whether structures are relaxed with the model first.
    """

    mode: Mode = "fast"
    temperature: float = 300.0
    ramp_to: float = 1000.0
    timestep: float = 0.5
    replicas: int = 1
    thermostat: str = "langevin"
    pressure: float = 0.0
    sampling_interval: int = 8
    frame_interval: int = 12
    seed: int = 0
    relax: bool = True

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

GPA = units.GPa
"""In eV/Å^3."""


def timestep_warning(atoms: ase.Atoms, timestep: float) -> str | None:
    """Returns a warning if a time step is too long for the fastest bonds, else None.

    Args:
        atoms: the structure.
        timestep: time step, fs.
    """
    hydrogen = 1 in atoms.numbers
    limit = _HYDROGEN_TIMESTEP if hydrogen else _OTHER_TIMESTEP
    if timestep <= limit:
        return None
    bonds = "bonds to hydrogen" if hydrogen else "bonds of light atoms"
    return (
        f"a time step of {timestep:g} fs exceeds the {limit:g} fs that "
        f"{atoms.get_chemical_formula()} allows ({bonds} vibrate with a period of "
        f"{10 * limit:.0f} fs): energy will not be conserved."
    )
