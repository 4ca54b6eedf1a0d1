"""An ASE calculator for any potential."""

import warnings
from typing import Any

import equinox as eqx
import numpy as np
from ase import Atoms
from ase.calculators import calculator as ase_calculator

from ._bucket import Bucket, dense_arrays
from ._causes import likely_cause
from ._long_range import plan_covers
from ._neighbors import Neighbors, neighbors
from ._packing import PaddedSizes
from ._potential import Potential
from ._structure import Structure
from ._triplets import count_triplets

# Relative strain of the cell that a plan covers before it is made anew.
_MARGIN = 0.1

# Distance of two atoms below which there is none but a mistake, Å.
_CLOSEST = 0.1


@eqx.filter_jit
def _evaluate(potential, batch):
    return potential(batch)


class NotFiniteError(ase_calculator.CalculationFailed, ValueError):
    """A model gave an energy, force or stress that is not finite."""


class Calculator(ase_calculator.Calculator):
    """Energy, forces, stress and charges of `ase.Atoms`, open or fully periodic.

    Structures are padded to a few sizes, so that each size is compiled once, whatever
    the atoms do. Energies include the reference energies. `charges` and `dipole` need
    a long-range layer that has charges; the dipole is that of open structures about
    the origin, sum_i q_i r_i. Everything is in ASE's units. The total charge is that
    given here: `atoms.info["charge"]`, `atoms.info["spin"]` and initial charges are
    not read. One warning is given where no layer of the model uses a total charge.

    Args:
        potential: evaluated in the precision of its parameters.
        total_charge: e; change it with `calculator.set(total_charge=...)`.
        spin: multiplicity, 0 where unknown.

    Raises:
        ValueError: mixed boundaries, an unknown element, positions that are not finite
            or two atoms less than 0.1 Å apart, when asked for a property.
        ase.calculators.calculator.CalculationFailed: energy, forces or stress are not
            finite; also a ValueError, which names the likely cause.
        ase.calculators.calculator.PropertyNotImplementedError: charges without a layer
            that has them, the stress of an open structure or the dipole of a crystal.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces"]
    implemented_properties += ["stress", "charges", "dipole"]

    def __init__(self, potential: Potential, *, total_charge: float, spin: int = 0):
        super().__init__(total_charge=total_charge, spin=spin)
        self.potential = potential
        self.padded_sizes: list[PaddedSizes] = []
        self._plan: tuple[Any, Any] = (None, None)
        self._warned = False

    def set(self, **changes):
        """Sets total charge or spin, and forgets results if something changed."""
        unknown = sorted(set(changes) - {"total_charge", "spin"})
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is not a parameter of this calculator; it has "
                "`total_charge` and `spin`."
            )
        changed = super().set(**changes)
        if changed:
            self.reset()
        return changed

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties=("energy",),
        system_changes=tuple(ase_calculator.all_changes),
    ):
        """Fills `results`; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        told: Any = self.parameters
        given: Any = self.atoms
        structure = Structure.from_ase(
            given,
            total_charge=float(told["total_charge"]),
            spin=int(told["spin"]),
        )
        self._refuse(properties, structure)
        self._warn_of_charge(structure.total_charge)
        reference = self.potential.atomic_energies_of(structure.numbers)
        found = _evaluate(self.potential, self._batch(structure))
        atoms_count = len(structure)
        host = lambda array: np.asarray(array[0], np.float64)[:atoms_count]
        energies = host(found.energies) + reference
        self.results = {
            "energy": float(energies.sum()),
            "free_energy": float(energies.sum()),
            "energies": energies,
            "forces": host(found.forces),
        }
        if found.stress is not None:
            self.results["stress"] = np.asarray(found.stress[0], np.float64)
        self._check_finite(structure)
        if self.potential.backbone.has_charges:
            charges = host(found.charges)
            self.results["charges"] = charges
            if structure.cell is None:
                self.results["dipole"] = charges @ structure.positions

    def _check_finite(self, structure: Structure) -> None:
        names = ("energy", "forces", "stress")
        found = {name: self.results.get(name, 0.0) for name in names}
        wrong = [name for name, value in found.items() if not np.isfinite(value).all()]
        if wrong:
            self.results = {}
            raise NotFiniteError(
                f"The {wrong[0]} of this model is not finite for "
                f"{len(structure)} atoms: {likely_cause(self.potential, structure)}."
            )

    def _refuse(self, properties, structure: Structure) -> None:
        reasons = {}
        if not self.potential.backbone.has_charges:
            why = "The model has no long-range layer with charges."
            reasons |= {"charges": why, "dipole": why}
        if structure.cell is None:
            reasons["stress"] = "A structure with open boundaries has no stress."
        else:
            reasons["dipole"] = "The dipole of a crystal depends on the choice of cell."
        for name in properties:
            if name in reasons:
                raise ase_calculator.PropertyNotImplementedError(reasons[name])

    def _warn_of_charge(self, total_charge: float) -> None:
        used = getattr(self.potential.backbone, "uses_total_charge", True)
        if total_charge != 0 and not used and not self._warned:
            self._warned = True
            warnings.warn(
                f"`total_charge` is {total_charge:g} e, but no layer of the model uses "
                "it: the results are those of any other charge. `TotalCharge` and "
                "charge equilibration use it.",
                stacklevel=2,
            )

    def _batch(self, structure: Structure):
        cutoff = self.potential.backbone.cutoff
        pairs = neighbors(structure, cutoff, closest=_CLOSEST)
        room = self._room(structure, pairs)
        needs = self.potential.backbone.needs_triplets
        bucket = Bucket(
            np.zeros(1, int),
            room.graphs,
            room.slots,
            room.edges,
            structures=(structure,),
            pairs=(pairs,),
            dtype=np.dtype(self.potential.scale.dtype),
            plan=self._planned(structure, room.slots),
            triplets=room.triplets if needs else None,
        )
        return bucket.batch([0])

    def _room(self, structure: Structure, pairs: Neighbors) -> PaddedSizes:
        """A size in use that is large enough and not far too large, or a new one."""
        triplets = 0
        if self.potential.backbone.needs_triplets:
            triplets = count_triplets(pairs)
        need = PaddedSizes(1, len(structure), len(pairs), triplets)
        fitting = [room for room in self.padded_sizes if _suits(need, room)]
        if not fitting:
            sizes = (_step(need.slots, 8), _step(need.edges, 64), _step(triplets, 64))
            fitting = [PaddedSizes(1, *sizes)]
            self.padded_sizes.extend(fitting)
        return min(fitting, key=lambda room: (room.edges, room.slots))

    def _planned(self, structure: Structure, slots: int):
        """The plan in use where it covers the structure, or a new one with a margin."""
        graphs = 2  # the structure, and the padding that a bucket's plan ends with
        dense = dense_arrays([structure], graphs, slots, np.dtype(np.float64))
        place = dense["cell"], dense["positions"], dense["mask"]
        kept = (slots, structure.numbers.tobytes(), structure.cell is None)
        if self._plan[0] == kept and plan_covers(self._plan[1], *place):
            return self._plan[1]
        plan = self.potential.backbone.plan_for(*place, margin=_MARGIN)
        self._plan = kept, plan
        return plan


def _suits(need: PaddedSizes, room: PaddedSizes) -> bool:
    """Whether the room is large enough and does not waste much.

    Below some sizes everything is cheap, and sharing one saves a compilation.
    """
    most = (1, 1.5 * need.slots + 8, 2 * need.edges + 256, 2 * need.triplets + 2048)
    return all(n <= size <= top for n, size, top in zip(need, room, most, strict=True))


def _step(count: int, least: int) -> int:
    """The next of the sizes least, 1.15 least, ..., with some room to grow."""
    wanted, size = 1.05 * count, float(least)
    while size < wanted:
        size *= 1.15
    return -(-int(size) // 4) * 4
