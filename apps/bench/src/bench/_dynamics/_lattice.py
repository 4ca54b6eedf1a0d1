"""Host-made facts of the lattice sums while cell and atoms move."""

import inspect
from typing import Any, NamedTuple

import jax
import numpy as np

from ._interaction import Interaction

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
        if not jax.tree.leaves(self.plan):
            return True
        if cell is None or self.cell is None:
            # Sums in open space depend on the extent alone.
            return _extent(positions) <= _extent(self.positions)
        has_word = lambda part: hasattr(part, "covers")
        parts = jax.tree.leaves(self.plan, is_leaf=has_word)
        if not all(map(has_word, parts)):
            still = np.array_equal(positions, self.positions)
            return still and np.array_equal(cell, self.cell)
        return all(_part_covers(part, positions, cell) for part in parts)


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


def _part_covers(part, positions, cell) -> bool:
    """Sums over pairs also ask where the atoms are."""
    known = inspect.signature(part.covers).parameters
    where = (positions[None],) if "positions" in known else ()
    return bool(np.all(part.covers(cell[None], *where)))


def _extent(positions: np.ndarray) -> float:
    """Diameter of the sphere about the mean that holds all atoms, Å."""
    apart = positions - positions.mean(0)
    return 2 * float(np.sqrt(np.max(np.sum(apart**2, 1))))
