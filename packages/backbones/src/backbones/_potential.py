"""Potentials: energies, forces, stress and charges in eV, Å and e."""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Array, Float

from ._backbone import Backbone
from ._batch import Batch
from ._repulsion import repulsion


class Prediction(NamedTuple):
    """Predicted properties of the structures of a batch; zero on padding."""

    energy: Float[Array, " graphs"]
    """Energy of each structure without the atomic energies, eV."""
    energies: Float[Array, "graphs slots"]
    """Contribution of each atom to the energy, eV."""
    forces: Float[Array, "graphs slots 3"]
    """Forces, eV/Å."""
    stress: Float[Array, "graphs 6"] | None
    """Stress with ASE's sign, order xx yy zz yz xz xy, eV/Å^3; None if not periodic."""
    charges: Float[Array, "graphs slots"]
    """Charges, e; zero without a long-range layer that predicts them."""


class Potential(eqx.Module):
    """A backbone with scale and shift of its energies, and the atomic energies.

    E = sum_i (E0[z_i] + scale * short_range_i + shift + long_range_i + zbl_i).
    Scale, shift and atomic energies E0 are not trained. The atomic energies are large
    and are kept in float64 on the host: `prediction.energy` does not include them.

    Args:
        backbone: for example a `MACE`.
        atomic_energies: E0, energies of the isolated atoms, eV, by atomic number, for
            all elements of the backbone.
        scale: eV, for example the root mean square of the training forces times 1 Å.
        shift: eV per atom.
        zbl: whether to add ZBL nuclear repulsion at distances below bond lengths.
    """

    backbone: Backbone
    scale: Float[Array, ""]
    shift: Float[Array, ""]
    atomic_energies: tuple[tuple[int, float], ...] = eqx.field(static=True)
    zbl: bool = eqx.field(static=True)

    def __init__(
        self,
        backbone: Backbone,
        atomic_energies: Mapping[int, float],
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        zbl: bool = False,
    ):
        missing = sorted(set(backbone.elements) - set(atomic_energies))
        if missing:
            raise ValueError(
                f"`atomic_energies` has no energy for {_symbols(missing)}: give one "
                "for each element of the backbone."
            )
        self.backbone = backbone
        self.atomic_energies = tuple(
            (int(z), float(atomic_energies[z])) for z in backbone.elements
        )
        wrong = [z for z, energy in self.atomic_energies if not np.isfinite(energy)]
        if wrong:
            raise ValueError(
                f"`atomic_energies` has no finite energy for {_symbols(wrong)}: "
                f"{atomic_energies[wrong[0]]}."
            )
        self.scale = jnp.asarray(scale, float)
        self.shift = jnp.asarray(shift, float)
        self.zbl = zbl

    def __call__(self, batch: Batch) -> Prediction:
        """Returns energies, forces, stress and charges.

        Args:
            batch: the structures.
        """
        strain = jnp.zeros((batch.graphs, 3, 3), batch.positions.dtype)
        total = lambda moving: self._strained(moving[0], moving[1], batch)
        (_, (energies, charges)), (gradient, virial) = jax.value_and_grad(
            total, has_aux=True
        )((batch.positions, strain))
        stress = None if batch.cell is None else _voigt(virial, batch.cell)
        return Prediction(energies.sum(1), energies, -gradient, stress, charges)

    def energies(self, batch: Batch) -> tuple[Array, Array]:
        """Returns the atoms' energies (eV, without E0) and charges (e).

        Args:
            batch: the structures.
        """
        out = self.backbone(batch)
        scale, shift = jax.lax.stop_gradient((self.scale, self.shift))
        short_range = jnp.where(batch.mask, scale * out.energies + shift, 0.0)
        energies = short_range + out.long_range
        if self.zbl:
            pairs = repulsion(batch, self.backbone.cutoff)
            energies = energies + pairs.reshape(batch.mask.shape)
        return energies, out.charges

    def composition_energy(self, numbers: np.ndarray) -> float:
        """Returns the sum of the atomic energies E0 of some atoms, eV, in float64.

        Args:
            numbers: atomic numbers, shape `(atoms,)`.

        Raises:
            ValueError: the model does not support an element.
        """
        return float(self.atomic_energies_of(numbers).sum())

    def atomic_energies_of(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the atomic energy E0 of each atom, eV, in float64.

        Args:
            numbers: atomic numbers, shape `(atoms,)`.

        Raises:
            ValueError: the model does not support an element.
        """
        self.check_elements(numbers)
        table = dict(self.atomic_energies)
        return np.array([table[int(z)] for z in numbers], np.float64)

    def check_elements(self, numbers: np.ndarray) -> None:
        """Raises an error for elements that the model does not support.

        Args:
            numbers: atomic numbers.

        Raises:
            ValueError: the model does not support an element; the message names it.
        """
        known = [z for z, _ in self.atomic_energies]
        unknown = sorted({int(z) for z in numbers} - set(known))
        if unknown:
            raise ValueError(
                f"The model does not support {_symbols(unknown)}; it was built for "
                f"{_symbols(known)}."
            )

    def _strained(self, positions, strain, batch: Batch):
        """Returns the total energy of strained structures; strain is symmetrized."""
        strain = 0.5 * (strain + strain.mT)
        deform = lambda rows: (
            rows
            + jnp.einsum(
                "gab,gbc->gac", rows, strain, precision=jax.lax.Precision.HIGHEST
            )
        )
        cell = None if batch.cell is None else deform(batch.cell)
        moved = eqx.tree_at(
            lambda b: (b.positions, b.cell),
            batch,
            (deform(positions), cell),
            is_leaf=lambda leaf: leaf is None,
        )
        energies, charges = self.energies(moved)
        return energies.sum(), (energies, charges)


def _symbols(numbers) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)


def _voigt(virial, cell):
    volume = jnp.abs(jnp.linalg.det(cell))[:, None]
    rows, columns = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
    return virial[:, rows, columns] / volume


def parameter_count(model: eqx.Module) -> int:
    """Returns the number of trainable parameters: of floating-point arrays.

    Scalars, such as the scale of the energies, are constants and do not count.

    Args:
        model: a backbone or a potential.
    """
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return sum(leaf.size for leaf in arrays if leaf.ndim > 0)
