"""What is simulated, and for how long."""

import dataclasses
from typing import Literal

import ase
from ase import units

Mode = Literal["dev", "fast", "standard"]
MODES: tuple[Mode, ...] = ("dev", "fast", "standard")

# Bonds of hydrogen vibrate with 9 to 11 fs; ten steps a period are the least.
_HYDROGEN_LIMIT = 1.0
# The same for carbon, nitrogen and oxygen with each other.
_OTHER_LIMIT = 2.0

PASSING_DRIFT = 0.5
"""meV/atom/ps."""
PASSING_RATIO = 1.0

RESTING_FORCE = 0.05
"""eV/Å; a structure whose atoms all feel less is at rest."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """One stretch of a simulation.

    Args:
        name: for people and files.
        ensemble: `langevin`, `nose-hoover`, `nve` or `npt`.
        picoseconds: how long.
        start: target temperature at the beginning, K.
        end: at the end, K; it changes linearly in time.
        after: the phase whose last frame it starts from; empty for the structure.
    """

    name: str
    ensemble: str
    picoseconds: float
    start: float
    end: float
    after: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """What can be chosen for a simulation.

    Args:
        mode: durations.
        temperature: K.
        hottest: end of the heating ramp, K.
        timestep: fs.
        replicas: simulations of each structure at once.
        thermostat: `langevin` or `nose-hoover`.
        pressure: GPa, for constant pressure.
        looks: steps between two looks at the atoms.
        frames: looks between two frames of the trajectory, and two checkpoints.
        seed: of velocities and noise.
        relax: whether structures come to rest in the model first.
    """

    mode: Mode = "fast"
    temperature: float = 300.0
    hottest: float = 1000.0
    timestep: float = 0.5
    replicas: int = 1
    thermostat: str = "langevin"
    pressure: float = 0.0
    looks: int = 8
    frames: int = 12
    seed: int = 0
    relax: bool = True

    @property
    def relaxing_steps(self) -> int:
        """At most, until a structure is at rest."""
        return _RELAXING_STEPS[self.mode]

    def phases(self, periodic: bool) -> list[Phase]:
        """In order: thermostat, constant energy, heating, constant pressure.

        Args:
            periodic: whether there is a cell to put under pressure.
        """
        nvt, nve, ramp, npt = _PICOSECONDS[self.mode]
        warm, hot = self.temperature, self.hottest
        found = [
            Phase("nvt", self.thermostat, nvt, warm, warm, ""),
            Phase("nve", "nve", nve, warm, warm, "nvt"),
            Phase("ramp", self.thermostat, ramp, warm, hot, "nvt"),
        ]
        if periodic:
            found.append(Phase("npt", "npt", npt, warm, warm, "nvt"))
        return found


_PICOSECONDS: dict[Mode, tuple[float, float, float, float]] = {
    "dev": (0.05, 0.05, 0.05, 0.02),
    "fast": (0.5, 0.5, 0.5, 0.1),
    "standard": (10.0, 5.0, 20.0, 10.0),
}
"""Of thermostat, constant energy, heating, constant pressure."""

_RELAXING_STEPS: dict[Mode, int] = {"dev": 20, "fast": 500, "standard": 2000}

GPA = units.GPa
"""In eV/Å^3."""


def timestep_warning(atoms: ase.Atoms, timestep: float) -> str | None:
    """A sentence if a time step is too long for the fastest bonds.

    Args:
        atoms: the structure.
        timestep: fs.
    """
    hydrogen = 1 in atoms.numbers
    limit = _HYDROGEN_LIMIT if hydrogen else _OTHER_LIMIT
    if timestep <= limit:
        return None
    why = "bonds of hydrogen vibrate" if hydrogen else "bonds of light atoms vibrate"
    return (
        f"a time step of {timestep:g} fs is above the {limit:g} fs that "
        f"{atoms.get_chemical_formula()} allows, for {why} with "
        f"{10 * limit:.0f} fs: energy will not be conserved."
    )
