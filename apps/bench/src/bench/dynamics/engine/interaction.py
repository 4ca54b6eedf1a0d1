"""The potential energy of a fixed set of atoms as a function of plain arrays."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from backbones import Potential, Structure, energy_function


@dataclasses.dataclass(frozen=True, eq=False)
class Interaction:
    """The potential energy of a fixed set of atoms.

    Args:
        cutoff: cutoff of the pairs, Å.
        energy: called as `energy(weights, positions, senders, receivers, shifts, box,
            plan, triplets)`, returns eV. Pairs are listed in both directions; padding
            has the atom index `len(positions)`; `box` has lattice vectors as rows or is
            None; `triplets` is the capacity for pairs of pairs.
        weights: arrays that are arguments of compiled programs, not constants in them.
        needs_triplets: whether the model uses triplets of atoms.
        plan_for: makes the plan of the lattice sums on the host, from positions, cell
            and the strain of the cell that the plan must cover; None without plans.
    """

    cutoff: float
    energy: Callable[..., Any]
    weights: Any = None
    needs_triplets: bool = False
    plan_for: Callable[[np.ndarray, np.ndarray | None, float], Any] | None = None


def make_interaction(potential: Potential, structure: Structure) -> Interaction:
    """Returns the energy of a structure's atoms without their atomic energies.

    Args:
        potential: a trained model.
        structure: defines elements, total charge and spin.

    Raises:
        ValueError: the potential has no atomic energy for an element.
    """
    potential.check_elements(structure.numbers)
    weights, static = eqx.partition(potential, eqx.is_array)

    def energy(weights, positions, senders, receivers, shifts, box, plan, triplets):
        function = energy_function(
            eqx.combine(weights, static),
            structure.numbers,
            total_charge=structure.total_charge,
            spin=structure.spin,
            triplets=triplets,
        )
        return function(positions, senders, receivers, shifts, box, plan)

    def plan_for(positions: np.ndarray, cell: np.ndarray | None, margin: float):
        mask = np.ones((1, len(positions)), bool)
        if cell is None:
            return potential.backbone.plan_for(None, positions[None], mask)
        return potential.backbone.plan_for(
            cell[None], positions[None], mask, margin=margin
        )

    return Interaction(
        cutoff=float(potential.backbone.cutoff),
        energy=energy,
        weights=weights,
        needs_triplets=potential.backbone.needs_triplets,
        plan_for=plan_for,
    )
