"""Reasons to stop a simulation, detected from positions, energies and temperature."""

import dataclasses
from typing import NamedTuple

import ase
import numpy as np
from ase import units
from ase.data import chemical_symbols, covalent_radii
from backbones import neighbors
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

CAUSES = (
    "nan",
    "temperature",
    "energy_jump",
    "volume",
    "close_contact",
    "fragment",
    "bond_stretch",
)
"""Failure causes in the order in which they are checked; the first one is reported."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a stable simulation.

    Args:
        temperature: largest ratio of kinetic and target temperature, to which eight
            standard deviations of the canonical fluctuation are added.
        energy_jump: largest change of the potential energy between two observations,
            eV/atom, to which eight standard deviations are added.
        volume: largest relative change of the volume.
        close_contact: smallest distance over the sum of the covalent radii.
        bond_stretch: largest change of a bond length, Å.
        bond_distance: largest distance over the sum of the covalent radii of a bond in
            the initial structure.
        fragment_distance: largest distance over that sum within a fragment.
    """

    temperature: float = 2.0
    energy_jump: float = 0.2
    volume: float = 0.1
    close_contact: float = 0.5
    bond_stretch: float = 0.5
    bond_distance: float = 1.2
    fragment_distance: float = 1.6


class Failure(NamedTuple):
    """A failure cause with details."""

    cause: str
    """One of `CAUSES`, or that a replica was not started."""
    detail: str
    """What was observed, such as the atoms of a broken bond."""


class Observation(NamedTuple):
    """State of one replica at one time."""

    positions: np.ndarray
    """Å."""
    box: np.ndarray | None
    """Rows, Å; None means open boundaries."""
    potential: float
    """eV."""
    temperature: float
    """Kinetic temperature, K."""
    target: float
    """Temperature of the thermostat or, at constant energy, of the start, K."""
    too_fast: bool = False
    """Whether an atom moved beyond the skin of the pair list within one step."""


def count_fragments(atoms: ase.Atoms) -> int:
    """Counts the connected fragments of a structure with long bonds included.

    Args:
        atoms: periodic in all directions or in none.
    """
    return StabilityMonitor(atoms, 1).fragments


class StabilityMonitor:
    """Compares observations of a replica with its initial structure.

    Args:
        reference: the initial structure, with all bonds intact.
        degrees_of_freedom: number of degrees of freedom.
        limits: limits of a stable simulation; None for the defaults.
    """

    def __init__(
        self,
        reference: ase.Atoms,
        degrees_of_freedom: int,
        limits: Limits | None = None,
    ):
        self.limits = limits or Limits()
        self.degrees_of_freedom = degrees_of_freedom
        self._radii = covalent_radii[reference.numbers]
        self._symbols = [chemical_symbols[z] for z in reference.numbers]
        box = reference.cell.array if reference.pbc.all() else None
        self._volume = None if box is None else abs(np.linalg.det(box))
        pairs = self._pairs(reference.positions, box, self.limits.bond_distance)
        once = pairs.first <= pairs.second
        self._bonds = _Pairs(*(column[once] for column in pairs))
        self._fragments = self._count_fragments(reference.positions, box)

    @property
    def fragments(self) -> int:
        """Number of fragments of the initial structure."""
        return self._fragments

    @property
    def bonds(self) -> int:
        """Number of bonds of the initial structure."""
        return len(self._bonds.first)

    def failure(
        self, observation: Observation, previous_energy: float | None
    ) -> Failure | None:
        """Returns the first failure cause, or None for a stable replica.

        Args:
            observation: observation of the replica.
            previous_energy: potential energy at the previous observation, eV; None for
                the first.
        """
        values = observation.potential, observation.temperature
        finite = np.isfinite(values).all() and np.isfinite(observation.positions).all()
        if not finite:
            return Failure("nan", "energy, forces or positions are not finite")
        return (
            self._check_temperature(observation)
            or self._check_energy_jump(observation, previous_energy)
            or self._check_volume(observation)
            or self._check_contacts(observation)
            or self._check_fragments(observation)
            or self._check_bonds(observation)
        )

    def _check_temperature(self, observation: Observation) -> Failure | None:
        temperature, target = observation.temperature, observation.target
        fluctuation = 8 * np.sqrt(2 / self.degrees_of_freedom)
        limit = (self.limits.temperature + fluctuation) * target
        if observation.too_fast:
            return Failure("temperature", "an atom moved beyond the skin in one step")
        if temperature <= limit:
            return None
        detail = f"{temperature:.0f} K, more than {limit:.0f} K"
        return Failure("temperature", f"{detail} at a target of {target:.0f} K")

    def _check_energy_jump(
        self, observation: Observation, previous_energy: float | None
    ) -> Failure | None:
        if previous_energy is None:
            return None
        atoms = len(observation.positions)
        thermal = units.kB * observation.target
        fluctuation = thermal * np.sqrt(self.degrees_of_freedom / 2) / atoms
        change = (observation.potential - previous_energy) / atoms
        limit = self.limits.energy_jump + 8 * fluctuation
        if abs(change) <= limit:
            return None
        detail = f"{change:+.2f} eV/atom between two observations"
        return Failure("energy_jump", f"{detail}, more than {limit:.2f}")

    def _check_volume(self, observation: Observation) -> Failure | None:
        if self._volume is None or observation.box is None:
            return None
        change = abs(np.linalg.det(observation.box)) / self._volume - 1
        if abs(change) <= self.limits.volume:
            return None
        return Failure("volume", f"the volume changed by {100 * change:+.1f} %")

    def _check_contacts(self, observation: Observation) -> Failure | None:
        pairs = self._pairs(
            observation.positions, observation.box, self.limits.close_contact
        )
        if not len(pairs.first):
            return None
        names = self._names(pairs.first[0], pairs.second[0])
        return Failure("close_contact", f"{names} are {pairs.length[0]:.2f} Å apart")

    def _check_fragments(self, observation: Observation) -> Failure | None:
        """Checked before the bonds: a bond that broke is also stretched."""
        fragments = self._count_fragments(observation.positions, observation.box)
        if fragments <= self._fragments:
            return None
        return Failure("fragment", f"{self._fragments} fragments became {fragments}")

    def _check_bonds(self, observation: Observation) -> Failure | None:
        bonds = self._bonds
        positions, box = observation.positions, observation.box
        vectors = positions[bonds.second] - positions[bonds.first]
        if box is not None:
            vectors = vectors + bonds.shift @ box
        change = np.linalg.norm(vectors, axis=1) - bonds.length
        largest = int(np.argmax(np.abs(change))) if len(change) else 0
        if not len(change) or abs(change[largest]) <= self.limits.bond_stretch:
            return None
        names = self._names(bonds.first[largest], bonds.second[largest])
        detail = f"the bond of {names} changed by {change[largest]:+.2f} Å"
        return Failure("bond_stretch", detail)

    def _names(self, i: int, j: int) -> str:
        return f"{self._symbols[i]}{i} and {self._symbols[j]}{j}"

    def _pairs(self, positions, box, factor: float) -> "_Pairs":
        """Pairs closer than `factor` times the sum of radii, in both directions."""
        reach = factor * 2 * float(self._radii.max())
        second, first, shifts = neighbors(positions, box, reach)
        vectors = positions[second] - positions[first]
        if box is not None:
            vectors = vectors + shifts @ box
        length = np.linalg.norm(vectors, axis=1)
        near = length < factor * (self._radii[first] + self._radii[second])
        return _Pairs(first[near], second[near], shifts[near], length[near])

    def _count_fragments(self, positions, box) -> int:
        pairs = self._pairs(positions, box, self.limits.fragment_distance)
        size = len(positions)
        ones = np.ones(len(pairs.first))
        graph = coo_matrix((ones, (pairs.first, pairs.second)), (size, size))
        return int(connected_components(graph, directed=False)[0])


class _Pairs(NamedTuple):
    first: np.ndarray
    """Index of the first atom."""
    second: np.ndarray
    """Index of the second atom."""
    shift: np.ndarray
    """Lattice translation of the second atom, `(pairs, 3)`."""
    length: np.ndarray
    """Å."""
