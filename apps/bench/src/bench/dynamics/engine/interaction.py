"""What moves the atoms: an energy of plain arrays, and what it needs from the host."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from backbones import Potential, Structure, energy_function


@dataclasses.dataclass(frozen=True, eq=False)
class Interaction:
    """The energy of a fixed set of atoms.

    Args:
        cutoff: of the pairs, Å.
        energy: called as `energy(weights, positions, senders, receivers, shifts, box,
            plan, triplets)`, in eV. Both directions of each pair are listed; padding
            names the atom `len(positions)`; `box` has lattice vectors as rows or is
            None; `triplets` is room for pairs of pairs.
        weights: arrays that a program is not compiled for.
        needs_triplets: whether room for triplets is counted.
        plan_for: facts of lattice sums for positions and a cell, made on the host, that
            cover strains of the cell up to its third argument.
    """

    cutoff: float
    energy: Callable[..., Any]
    weights: Any = None
    needs_triplets: bool = False
    plan_for: Callable[[np.ndarray, np.ndarray | None, float], Any] | None = None


def interaction(potential: Potential, structure: Structure) -> Interaction:
    """The energy of a structure's atoms in a potential, without reference energies.

    Args:
        potential: any.
        structure: gives elements, total charge and spin.

    Raises:
        ValueError: the potential does not know an element.
    """
    potential.check_elements(structure.numbers)
    weights, rest = eqx.partition(potential, eqx.is_array)

    def energy(weights, positions, senders, receivers, shifts, box, plan, triplets):
        function = energy_function(
            eqx.combine(weights, rest),
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
