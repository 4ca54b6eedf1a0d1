"""Dipoles and Born effective charges from the charges of a model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_masses
from backbones import Batch, Potential, Structure
from jaxtyping import Array, Float
from lr_les import born_charges


def dipoles(
    batch: Batch, charges: Float[Array, "graphs slots"]
) -> Float[Array, "graphs 3"]:
    r"""Returns the dipole moment of each structure about its center of mass, e Å.

    $$ \mu = \sum_i q_i (r_i - R), \qquad R = \sum_i m_i r_i / \sum_i m_i $$

    Args:
        batch: of open structures; for periodic ones the result is meaningless.
        charges: e, zero on padding.
    """
    return jnp.einsum(
        "gi,gic->gc",
        charges,
        _from_center_of_mass(batch),
        precision=jax.lax.Precision.HIGHEST,
    )


def response_of_fixed_charges(
    structure: Structure, charges: Float[np.ndarray, " atoms"]
) -> dict[str, np.ndarray]:
    """Returns the labels of a structure whose charges move with its atoms.

    Args:
        structure: open or periodic.
        charges: e.
    """
    masses = atomic_masses[structure.numbers]
    center = masses @ structure.positions / masses.sum()
    return {
        "charges": charges,
        "dipole": charges @ (structure.positions - center),
        "born_charges": charges[:, None, None] * np.eye(3),
    }


def born_effective_charges(
    potential: Potential, batch: Batch
) -> Float[Array, "graphs slots 3 3"]:
    """Returns the Born effective charges of a model, including charge transfer, e.

    Args:
        potential: with a backbone that has charges.
        batch: open or periodic structures.

    Returns:
        Indexed by structure, atom, direction of polarization and of displacement.
    """
    if batch.cell is None:
        # Structures do not interact, so all are differentiated as one.
        centered = dataclasses.replace(batch, positions=_from_center_of_mass(batch))
        flat = lambda x: x.reshape(-1, *x.shape[2:])

        def charges(positions, _):
            positions = positions.reshape(batch.positions.shape)
            return flat(_charges(potential, centered, positions))

        tensors = born_charges(charges, flat(centered.positions), mask=flat(batch.mask))
        return tensors.reshape(*batch.mask.shape, 3, 3)

    cell = batch.cell

    def of_structure(g):
        def charges(positions, _):
            return _charges(potential, batch, batch.positions.at[g].set(positions))[g]

        mask = batch.mask[g]
        constrained = _with_constant_sum(charges, mask)
        return born_charges(constrained, batch.positions[g], cell[g], mask=mask)

    return jax.lax.map(of_structure, jnp.arange(batch.graphs))


def _charges(potential: Potential, batch: Batch, positions: Array) -> Array:
    batch = dataclasses.replace(batch, positions=positions)
    _, charges = potential.energies(batch)
    return charges.astype(positions.dtype)


def _with_constant_sum(charges, mask):
    """Returns a function of charges whose sum has no derivative.

    In a cell the total charge must not depend on the positions.
    """

    def constrained_charges(positions, cell):
        values = charges(positions, cell)
        excess = jnp.sum(values) - jax.lax.stop_gradient(jnp.sum(values))
        return values - mask * excess / jnp.maximum(mask.sum(), 1)

    return constrained_charges


def _from_center_of_mass(batch: Batch) -> Float[Array, "graphs slots 3"]:
    """Returns positions relative to the centers of mass, zero on padding."""
    table = jnp.asarray(np.nan_to_num(atomic_masses), batch.positions.dtype)
    masses = jnp.where(batch.mask, table[batch.species], 0.0)
    weights = masses / jnp.maximum(masses.sum(1, keepdims=True), 1e-6)
    center = jnp.einsum(
        "gi,gic->gc", weights, batch.positions, precision=jax.lax.Precision.HIGHEST
    )
    relative = batch.positions - center[:, None]
    return jnp.where(batch.mask[..., None], relative, 0.0)
