"""Validated positions, cell and elements of a structure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Geometry:
    """Atomic numbers, positions and cell of a structure.

    Parameters
    ----------
    numbers : ndarray of shape (n_atoms,)
        Atomic numbers.
    positions : ndarray of shape (n_atoms, 3)
        Positions, Å.
    cell : ndarray of shape (3, 3) or None
        Lattice vectors in rows, Å; None for open boundaries.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers of the elements present, ascending."""
        return tuple(np.unique(self.numbers).tolist())

    @classmethod
    def from_ase(
        cls, atoms: "Atoms", index: int, periodic: bool | Literal["auto"]
    ) -> Self:
        """Convert a structure; errors name it by its index."""
        from ase import Atoms

        if not isinstance(atoms, Atoms):
            raise TypeError(
                f"`structures` must contain ase.Atoms; entry {index} is of type "
                f"{type(atoms).__name__}."
            )
        if len(atoms) == 0:
            raise ValueError(f"Structure {index} has no atoms.")
        if not np.isfinite(atoms.positions).all():
            raise ValueError(f"Structure {index} has a position that is not finite.")
        if (atoms.numbers < 1).any():
            raise ValueError(
                f"Structure {index} has an atom without element (number 0)."
            )
        if periodic == "auto":
            if atoms.pbc.any() and not atoms.pbc.all():
                raise ValueError(
                    f"Structure {index} is periodic in some directions only "
                    f"(pbc = {atoms.pbc.tolist()}); pass periodic=True or "
                    "periodic=False."
                )
            periodic = bool(atoms.pbc.all())
        if not periodic:
            return cls(atoms.numbers, atoms.positions, None)
        cell = np.asarray(atoms.cell)
        if not abs(np.linalg.det(cell)) > 1e-6:
            raise ValueError(
                f"Structure {index} is periodic, but its cell has no volume."
            )
        return cls(atoms.numbers, atoms.positions, cell)

    def to_ase(self) -> "Atoms":
        """Return the structure, wrapped into its cell.

        DScribe misses neighbors of atoms far outside the cell.
        """
        from ase import Atoms

        periodic = self.cell is not None
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=periodic)
        if periodic:
            atoms.wrap()
        return atoms
