"""Plans of lattice sums while cell and atoms move."""

from typing import Any, NamedTuple

import numpy as np
from backbones import plan_covers

from bench.dynamics.engine.interaction import Interaction

# Relative growth of a molecule that its real-space grid covers.
_MOLECULE_GROWTH = 1.25

# Strain of the cell that a plan covers. Covering 0.1 costs a third more wave vectors.
_MOVING_CELL_MARGIN, _FIXED_CELL_MARGIN = 0.1, 1e-3


class StructurePlan(NamedTuple):
    """A plan and the structure for which it was made."""

    plan: Any
    positions: np.ndarray
    """Å."""
    cell: np.ndarray | None
    """Rows, Å; None means open boundaries."""

    def covers(self, positions: np.ndarray, cell: np.ndarray | None) -> bool:
        """Returns whether the plan is valid for other positions or another cell.

        Args:
            positions: positions of the atoms, Å.
            cell: rows, Å; None means open boundaries.
        """
        box = None if cell is None else cell[None]
        mask = np.ones((1, len(positions)), bool)
        if plan_covers(self.plan, box, positions[None], mask):
            return True
        # A plan without `covers` is valid only for the structure it was made for.
        if cell is None or self.cell is None:
            same_cell = cell is self.cell
        else:
            same_cell = np.array_equal(cell, self.cell)
        return same_cell and np.array_equal(positions, self.positions)


def make_plan(
    interaction: Interaction,
    positions: np.ndarray,
    cell: np.ndarray | None,
    *,
    moves_box: bool = True,
    growth: float = _MOLECULE_GROWTH,
) -> StructurePlan:
    """Makes a plan that covers a structure and small changes of it.

    Args:
        interaction: whose long-range layers need the plan.
        positions: positions of the atoms, Å.
        cell: rows, Å; None means open boundaries.
        moves_box: whether the cell changes during the simulation.
        growth: factor by which a molecule may grow; 1 for exactly these positions.
    """
    if interaction.plan_for is None:
        return StructurePlan(None, positions, cell)
    if cell is None:
        positions = positions.mean(0) + growth * (positions - positions.mean(0))
    margin = _MOVING_CELL_MARGIN if moves_box else _FIXED_CELL_MARGIN
    return StructurePlan(interaction.plan_for(positions, cell, margin), positions, cell)
