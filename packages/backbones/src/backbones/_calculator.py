"""An ASE calculator for any potential."""

import os
import warnings
from typing import Any

import equinox as eqx
import numpy as np
from ase import Atoms
from ase.calculators import calculator as ase_calculator

from ._causes import likely_cause
from ._long_range import plan_covers
from ._make_batch import PaddedSizes, dense_arrays, make_batch, take_plan
from ._model_file import load
from ._neighbors import Neighbors, neighbors
from ._potential import Potential
from ._structure import Structure
from ._triplets import count_triplets

# Relative strain of the cell that a plan covers.
_MARGIN = 0.1

# Smallest distance of two atoms in a valid structure, Å.
_CLOSEST = 0.1


@eqx.filter_jit
def _evaluate(potential, batch):
    return potential(batch)


class NotFiniteError(ase_calculator.CalculationFailed, ValueError):
    """The energy, a force or the stress that a model predicts is not finite."""


class Calculator(ase_calculator.Calculator):
    """ASE calculator of a potential, for open and fully periodic structures.

    Structures are padded to a few sizes, and the potential is compiled once per size.
    Energies include the atomic energies. `charges` and `dipole` need a long-range layer
    that predicts charges; the dipole is sum_i q_i r_i, for open structures only. Units
    are ASE's. The total charge and spin are those given here: `atoms.info["charge"]`,
    `atoms.info["spin"]` and initial charges are not read. A warning is given once if
    the total charge is not 0 and no layer of the model uses it.

    With a path, `name` is the path and `todict()` has the arguments of an equal
    calculator, for example in a database of ASE. Copies and pickles have the potential.

    Args:
        potential: evaluated in the precision of its parameters; or the path of a model
            file or of the folder of a run, see `load`.
        total_charge: e; change it with `calculator.set(total_charge=...)`.
        spin: multiplicity, 0 if unknown.

    Raises:
        OSError: the path cannot be opened.
        ValueError: the model of the path cannot be loaded; at a calculation, for mixed
            boundaries, an unsupported element, positions that are not finite or two
            atoms closer than 0.1 Å.
        ase.calculators.calculator.CalculationFailed: energy, forces or stress are not
            finite; it is also a ValueError, and its message has the likely cause.
        ase.calculators.calculator.PropertyNotImplementedError: charges of a model
            without a layer that predicts them, the stress of an open structure or the
            dipole of a periodic one.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces"]
    implemented_properties += ["stress", "charges", "dipole"]

    def __init__(
        self,
        potential: Potential | str | os.PathLike,
        *,
        total_charge: float,
        spin: int = 0,
    ):
        super().__init__(total_charge=total_charge, spin=spin)
        parameters: Any = self.parameters
        if isinstance(potential, Potential):
            self.potential = potential
        else:
            self.potential = load(potential)
            parameters["potential"] = os.fspath(potential)
        self.padded_sizes: list[PaddedSizes] = []
        self._plan: tuple[Any, Any] = (None, None)
        self._warned = False

    def _get_name(self) -> str:
        """Returns the path of the model, or the class of its backbone."""
        parameters: Any = self.parameters
        return parameters.get("potential", type(self.potential.backbone).__name__)

    def set(self, **changes):
        """Sets total charge or spin, and resets the results if one changed.

        Args:
            changes: `total_charge`, e, or `spin`.

        Raises:
            ValueError: another parameter is given.
        """
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
        """Computes `results`; ASE calls it.

        Args:
            atoms: structure; None for that of the last calculation.
            properties: requested; all available ones are computed.
            system_changes: unused.
        """
        super().calculate(atoms, properties, system_changes)
        parameters: Any = self.parameters
        current_atoms: Any = self.atoms
        structure = Structure.from_ase(
            current_atoms,
            total_charge=float(parameters["total_charge"]),
            spin=int(parameters["spin"]),
        )
        self._check_available(properties, structure)
        self._warn_of_charge(structure.total_charge)
        atomic_energies = self.potential.atomic_energies_of(structure.numbers)
        prediction = _evaluate(self.potential, self._batch(structure))
        host = lambda array: np.asarray(array[0], np.float64)[: len(structure)]
        energies = host(prediction.energies) + atomic_energies
        self.results = {
            "energy": float(energies.sum()),
            "free_energy": float(energies.sum()),
            "energies": energies,
            "forces": host(prediction.forces),
        }
        if prediction.stress is not None:
            self.results["stress"] = np.asarray(prediction.stress[0], np.float64)
        self._check_finite(structure)
        if self.potential.backbone.has_charges:
            charges = host(prediction.charges)
            self.results["charges"] = charges
            if structure.cell is None:
                self.results["dipole"] = charges @ structure.positions

    def _check_finite(self, structure: Structure) -> None:
        names = ("energy", "forces", "stress")
        values = {name: self.results.get(name, 0.0) for name in names}
        wrong = [name for name, value in values.items() if not np.isfinite(value).all()]
        if wrong:
            self.results = {}
            raise NotFiniteError(
                f"The {wrong[0]} of this model is not finite for "
                f"{len(structure)} atoms: {likely_cause(self.potential, structure)}."
            )

    def _check_available(self, properties, structure: Structure) -> None:
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
        used = self.potential.backbone.hooks.uses_total_charge
        if total_charge != 0 and not used and not self._warned:
            self._warned = True
            warnings.warn(
                f"`total_charge` is {total_charge:g} e, but no layer of the model uses "
                "it: results do not depend on it. `TotalCharge` and charge "
                "equilibration use it.",
                stacklevel=2,
            )

    def _batch(self, structure: Structure):
        backbone = self.potential.backbone
        pairs = neighbors(
            structure.positions,
            structure.cell,
            backbone.cutoff,
            closest=_CLOSEST,
            species=structure.numbers,
        )
        sizes = self._sizes(structure, pairs)
        return make_batch(
            [structure],
            [pairs],
            sizes,
            take_plan(self._cached_plan(structure, sizes.slots), [0], sizes.graphs),
            triplets=backbone.needs_triplets,
            dtype=np.dtype(self.potential.scale.dtype),
        )

    def _sizes(self, structure: Structure, pairs: Neighbors) -> PaddedSizes:
        """Returns compiled sizes that fit with little padding, or new ones."""
        triplets = 0
        if self.potential.backbone.needs_triplets:
            triplets = count_triplets(pairs)
        needed = PaddedSizes(1, len(structure), len(pairs), triplets)
        fitting = [sizes for sizes in self.padded_sizes if _fits(needed, sizes)]
        if not fitting:
            rounded = (
                _round_up(needed.slots, 8),
                _round_up(needed.edges, 64),
                _round_up(triplets, 64),
            )
            fitting = [PaddedSizes(1, *rounded)]
            self.padded_sizes.extend(fitting)
        return min(fitting, key=lambda sizes: (sizes.edges, sizes.slots))

    def _cached_plan(self, structure: Structure, slots: int):
        """Returns the last plan if it covers the structure, or a new one."""
        graphs = 2  # the structure, and the padding graph at the end of a bucket's plan
        dense = dense_arrays([structure], graphs, slots, np.dtype(np.float64))
        geometry = dense["cell"], dense["positions"], dense["mask"]
        key = (slots, structure.numbers.tobytes(), structure.cell is None)
        cached_key, cached = self._plan
        if cached_key == key and plan_covers(cached, *geometry):
            return cached
        plan = self.potential.backbone.plan_for(*geometry, margin=_MARGIN)
        self._plan = key, plan
        return plan


def _fits(needed: PaddedSizes, sizes: PaddedSizes) -> bool:
    """Whether sizes are large enough, without much padding.

    The upper limits have a constant term: for small structures padding costs less than
    another compilation.
    """
    largest = (
        1,
        1.5 * needed.slots + 8,
        2 * needed.edges + 256,
        2 * needed.triplets + 2048,
    )
    return all(
        n <= size <= top for n, size, top in zip(needed, sizes, largest, strict=True)
    )


def _round_up(count: int, smallest: int) -> int:
    """Returns the next of a geometric series of sizes, with 5 % more than needed."""
    wanted, size = 1.05 * count, float(smallest)
    while size < wanted:
        size *= 1.15
    return -(-int(size) // 4) * 4
