"""What a descriptor needs of a structure, checked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Geometry:
    """Atoms in space: `cell` is None for open boundaries, Å throughout."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(np.unique(self.numbers).tolist())

    @classmethod
    def of(cls, atoms: "Atoms", index: int, periodic: bool | Literal["auto"]) -> Self:
        """Take the facts from a structure, or say what is wrong with it."""
        from ase import Atoms

        if not isinstance(atoms, Atoms):
            raise TypeError(
                f"`structures` must hold ase.Atoms, entry {index} is a "
                f"{type(atoms).__name__}."
            )
        if len(atoms) == 0:
            raise ValueError(f"Structure {index} has no atoms.")
        if not np.isfinite(atoms.positions).all():
            raise ValueError(f"Structure {index} has a position that is not a number.")
        if (atoms.numbers < 1).any():
            raise ValueError(f"Structure {index} has an atom of no element (number 0).")
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
                f"Structure {index} is to be periodic, but its cell has no volume."
            )
        return cls(atoms.numbers, atoms.positions, cell)

    def to_ase(self) -> "Atoms":
        """Build the structure again, wrapped into its cell.

        DScribe loses neighbours of atoms far outside the cell.
        """
        from ase import Atoms

        periodic = self.cell is not None
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=periodic)
        if periodic:
            atoms.wrap()
        return atoms
