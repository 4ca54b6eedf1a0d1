"""Structures: atoms as NumPy arrays, with checks."""

import dataclasses

import ase
import numpy as np


@dataclasses.dataclass(frozen=True)
class Structure:
    """Atoms with open or fully periodic boundaries, as NumPy arrays on the host.

    Args:
        numbers: atomic numbers, shape `(atoms,)`.
        positions: Å, shape `(atoms, 3)`; atoms may be outside the cell.
        cell: lattice vectors as rows, Å, shape `(3, 3)`; None for open boundaries.
        total_charge: e.
        spin: multiplicity 2S + 1, 0 if unknown.

    Raises:
        ValueError: there are no atoms, the shapes do not match, a value is not finite,
            or the cell has no volume.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    total_charge: float = 0.0
    spin: int = 0

    def __post_init__(self):
        numbers = np.asarray(self.numbers, np.int32)
        positions = np.asarray(self.positions, np.float64)
        if numbers.ndim != 1 or len(numbers) == 0:
            raise ValueError(
                "A structure needs at least one atom; `numbers` has shape "
                f"{numbers.shape}."
            )
        if positions.shape != (len(numbers), 3):
            raise ValueError(
                f"`positions` must have shape ({len(numbers)}, 3) for "
                f"{len(numbers)} atomic numbers, got {positions.shape}."
            )
        if numbers.min() < 1 or numbers.max() > 118:
            raise ValueError(
                "Atomic numbers must be between 1 and 118, got "
                f"{numbers.min()} to {numbers.max()}."
            )
        bad = np.flatnonzero(~np.isfinite(positions).all(1))
        if len(bad):
            raise ValueError(
                f"The position of atom {bad[0]} is not finite: {positions[bad[0]]}."
            )
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "positions", positions)
        if self.cell is not None:
            object.__setattr__(self, "cell", _checked_cell(self.cell))

    def __len__(self):
        return len(self.numbers)

    @property
    def origin(self) -> np.ndarray:
        """Vector that batches subtract from the positions in float64, Å.

        It reduces the rounding of positions in float32; energies do not depend on it.
        For open structures it is the mean position, for periodic ones the lattice
        vector nearest to the mean, so that fractional coordinates change by integers.
        """
        mean = self.positions.mean(0)
        if self.cell is None:
            return mean
        return np.round(mean @ np.linalg.inv(self.cell)) @ self.cell

    @classmethod
    def from_ase(cls, atoms: ase.Atoms, *, total_charge: float, spin: int = 0):
        """Returns the structure of an ASE object with the boundaries `atoms.pbc`.

        Args:
            atoms: periodic in all three directions or in none.
            total_charge: e; required, because `ase.Atoms` does not define it.
            spin: multiplicity, 0 if unknown.

        Raises:
            ValueError: one or two directions are periodic.
        """
        if atoms.pbc.any() and not atoms.pbc.all():
            raise ValueError(
                f"Boundaries pbc={atoms.pbc.tolist()} mix open and periodic "
                "directions, which is not supported: set all three or none."
            )
        cell = atoms.cell.array if atoms.pbc.all() else None
        return cls(atoms.numbers, atoms.positions, cell, total_charge, spin)


def _checked_cell(cell) -> np.ndarray:
    cell = np.asarray(cell, np.float64)
    if cell.shape != (3, 3) or not np.isfinite(cell).all():
        raise ValueError(
            f"`cell` must be three finite lattice vectors as rows, got {cell.tolist()}."
        )
    lengths = np.linalg.norm(cell, axis=1).prod()
    if abs(np.linalg.det(cell)) <= 1e-6 * lengths or lengths == 0:
        raise ValueError(
            f"`cell` has no volume: {cell.tolist()}; use cell=None for open boundaries."
        )
    return cell
