"""Why a simulation is over: causes with names, found by looking at the atoms."""

import dataclasses
from typing import NamedTuple

import ase
import numpy as np
from ase import units
from ase.data import chemical_symbols, covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bench.dynamics.engine.pairs import list_pairs

CAUSES = (
    "nan",
    "temperature",
    "energy_jump",
    "volume",
    "close_contact",
    "fragment",
    "bond_stretch",
)
"""In the order in which they are looked for; the first one found is told."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is still a simulation.

    Args:
        heat: kinetic temperature over the target, besides eight standard deviations of
            its canonical fluctuation.
        jump: change of the potential energy between two looks, eV an atom, besides
            eight standard deviations.
        volume: relative change of the volume.
        contact: distance over the sum of covalent radii.
        stretch: change of a bond's length, Å.
        bond: distance over the sum of covalent radii that is a bond at the beginning.
        reach: distance over that sum that still holds a fragment together.
    """

    heat: float = 2.0
    jump: float = 0.2
    volume: float = 0.1
    contact: float = 0.5
    stretch: float = 0.5
    bond: float = 1.2
    reach: float = 1.6


class Failure(NamedTuple):
    """A cause and one sentence that says what was seen."""

    cause: str
    detail: str


class Look(NamedTuple):
    """One replica at one time."""

    positions: np.ndarray
    """Å."""
    box: np.ndarray | None
    """Rows, Å."""
    potential: float
    """eV."""
    temperature: float
    """K, kinetic."""
    target: float
    """K, of the thermostat; for constant energy, of the beginning."""
    stuck: bool = False
    """Whether atoms moved so fast that no list of pairs could follow."""


def fragments(atoms: ase.Atoms) -> int:
    """How many pieces a structure is in, bonds being generous.

    Args:
        atoms: periodic in all directions or in none.
    """
    return Watch(atoms, 1).pieces


class Watch:
    """Compares a replica with the structure it began with.

    Args:
        reference: an intact structure.
        freedom: degrees of freedom that share the kinetic energy.
        limits: what is still a simulation.
    """

    def __init__(
        self, reference: ase.Atoms, freedom: int, limits: Limits | None = None
    ):
        self.limits = limits or Limits()
        self.freedom = freedom
        self._radii = covalent_radii[reference.numbers]
        self._symbols = [chemical_symbols[z] for z in reference.numbers]
        box = reference.cell.array if reference.pbc.all() else None
        self._volume = None if box is None else abs(np.linalg.det(box))
        pairs = self._pairs(reference.positions, box, self.limits.bond)
        once = pairs.first <= pairs.second
        self._bonds = _Pairs(*(column[once] for column in pairs))
        self._pieces = self._fragments(reference.positions, box)

    @property
    def pieces(self) -> int:
        """How many fragments the reference has."""
        return self._pieces

    @property
    def bonds(self) -> int:
        """How many bonds the reference has."""
        return len(self._bonds.first)

    def failure(self, look: Look, before: float | None) -> Failure | None:
        """The first cause for which the simulation is over, if any.

        Args:
            look: at the replica now.
            before: potential energy at the look before, eV; None at the first.
        """
        values = look.potential, look.temperature
        if not (np.isfinite(values).all() and np.isfinite(look.positions).all()):
            return Failure("nan", "energy, forces or positions are not finite")
        for check in (self._heat, self._jump, self._box, self._contact):
            found = check(look, before)
            if found is not None:
                return found
        return self._torn(look)

    def _heat(self, look: Look, before) -> Failure | None:
        del before
        wide = 8 * np.sqrt(2 / self.freedom)
        most = (self.limits.heat + wide) * look.target
        if look.stuck:
            return Failure("temperature", "atoms leave their surroundings in one step")
        if look.temperature <= most:
            return None
        text = f"{look.temperature:.0f} K, more than {most:.0f} K"
        return Failure("temperature", f"{text} at a target of {look.target:.0f} K")

    def _jump(self, look: Look, before: float | None) -> Failure | None:
        atoms = len(look.positions)
        spread = units.kB * look.target * np.sqrt(self.freedom / 2) / atoms
        change = 0.0 if before is None else (look.potential - before) / atoms
        most = self.limits.jump + 8 * spread
        if abs(change) <= most:
            return None
        text = f"{change:+.2f} eV an atom between two looks"
        return Failure("energy_jump", f"{text}, more than {most:.2f}")

    def _box(self, look: Look, before) -> Failure | None:
        del before
        if self._volume is None or look.box is None:
            return None
        change = abs(np.linalg.det(look.box)) / self._volume - 1
        if abs(change) <= self.limits.volume:
            return None
        return Failure("volume", f"the volume changed by {100 * change:+.1f} %")

    def _contact(self, look: Look, before) -> Failure | None:
        del before
        pairs = self._pairs(look.positions, look.box, self.limits.contact)
        if not len(pairs.first):
            return None
        i, j = pairs.first[0], pairs.second[0]
        return Failure(
            "close_contact", f"{self._name(i, j)} are {pairs.length[0]:.2f} Å apart"
        )

    def _torn(self, look: Look) -> Failure | None:
        """Fragments first: a bond that is no more has also stretched."""
        pieces = self._fragments(look.positions, look.box)
        if pieces > self._pieces:
            return Failure("fragment", f"{self._pieces} fragments became {pieces}")
        bonds = self._bonds
        vectors = look.positions[bonds.second] - look.positions[bonds.first]
        if look.box is not None:
            vectors = vectors + bonds.shift @ look.box
        change = np.linalg.norm(vectors, axis=1) - bonds.length
        worst = int(np.argmax(np.abs(change))) if len(change) else 0
        if not len(change) or abs(change[worst]) <= self.limits.stretch:
            return None
        i, j = bonds.first[worst], bonds.second[worst]
        text = f"the bond of {self._name(i, j)} changed by {change[worst]:+.2f} Å"
        return Failure("bond_stretch", text)

    def _name(self, i: int, j: int) -> str:
        return f"{self._symbols[i]}{i} and {self._symbols[j]}{j}"

    def _pairs(self, positions, box, factor: float) -> "_Pairs":
        """Pairs closer than `factor` times the sum of radii, in both directions."""
        reach = factor * 2 * float(self._radii.max())
        second, first, shifts = list_pairs(positions, box, reach)
        vectors = positions[second] - positions[first]
        if box is not None:
            vectors = vectors + shifts @ box
        length = np.linalg.norm(vectors, axis=1)
        near = length < factor * (self._radii[first] + self._radii[second])
        return _Pairs(first[near], second[near], shifts[near], length[near])

    def _fragments(self, positions, box) -> int:
        pairs = self._pairs(positions, box, self.limits.reach)
        size = len(positions)
        ones = np.ones(len(pairs.first))
        graph = coo_matrix((ones, (pairs.first, pairs.second)), (size, size))
        return int(connected_components(graph, directed=False)[0])


class _Pairs(NamedTuple):
    first: np.ndarray
    second: np.ndarray
    shift: np.ndarray
    length: np.ndarray
