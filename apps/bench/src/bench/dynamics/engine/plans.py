"""Host-made facts of the lattice sums while cell and atoms move."""

from typing import Any, NamedTuple

import numpy as np
from backbones import plan_covers

from bench.dynamics.engine.interaction import Interaction

# Molecules may grow by so much before their grid is made anew.
_STRETCH = 1.25

# Strain of the cell that a plan covers before it is made anew, where the cell moves and
# where it stays: the first costs a third more vectors.
_MARGIN, _STILL = 0.1, 1e-3


class Planned(NamedTuple):
    """A plan and the structure it was made for."""

    plan: Any
    positions: np.ndarray
    cell: np.ndarray | None

    def covers(self, positions: np.ndarray, cell: np.ndarray | None) -> bool:
        """Whether the plan still serves, by its own word where it has one.

        Args:
            positions: Å.
            cell: rows, Å; None means open boundaries.
        """
        box = None if cell is None else cell[None]
        mask = np.ones((1, len(positions)), bool)
        if plan_covers(self.plan, box, positions[None], mask):
            return True
        # One without a word serves the structure that it was made for.
        still = np.array_equal(positions, self.positions)
        return still and np.array_equal(cell, self.cell)


def planned(
    interaction: Interaction,
    positions: np.ndarray,
    cell: np.ndarray | None,
    *,
    moves: bool = True,
    stretch: float = _STRETCH,
) -> Planned:
    """The plan for a structure and its surroundings.

    Args:
        interaction: says what it needs.
        positions: Å.
        cell: rows, Å.
        moves: whether the cell may move.
        stretch: by how much a molecule may grow; 1 where `positions` have grown.
    """
    if interaction.plan_for is None:
        return Planned(None, positions, cell)
    if cell is None:
        positions = positions.mean(0) + stretch * (positions - positions.mean(0))
    plan = interaction.plan_for(positions, cell, _MARGIN if moves else _STILL)
    return Planned(plan, positions, cell)
