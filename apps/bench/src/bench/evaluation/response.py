"""How a model answers fields: dipoles and Born effective charges from its charges."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_masses
from backbones import Batch, Potential
from jaxtyping import Array, Float
from lr_les import born_charges


def dipoles(
    batch: Batch, charges: Float[Array, "graphs slots"]
) -> Float[Array, "graphs 3"]:
    r"""Dipole moment of every structure about its centre of mass, e Å.

    $$ \mu = \sum_i q_i (r_i - R), \qquad R = \sum_i m_i r_i / \sum_i m_i $$

    Args:
        batch: of open structures; where they are periodic nothing is meant by it.
        charges: e, zero on padding.
    """
    return jnp.einsum(
        "gi,gic->gc", charges, _from_centre(batch), precision=jax.lax.Precision.HIGHEST
    )


def born_charges_of(
    potential: Potential, batch: Batch
) -> Float[Array, "graphs slots 3 3"]:
    """Born effective charges of a model's charges, with their own response, e.

    Args:
        potential: whose backbone has charges.
        batch: open or periodic structures.

    Returns:
        As [structure, atom, direction of polarisation, direction of displacement].
    """
    if batch.cell is None:
        # Structures do not feel one another, so that one sum over all of them serves.
        centred = dataclasses.replace(batch, positions=_from_centre(batch))
        flat = lambda x: x.reshape(-1, *x.shape[2:])

        def charges(places, _):
            moved = places.reshape(batch.positions.shape)
            return flat(_charges(potential, centred, moved))

        found = born_charges(charges, flat(centred.positions), mask=flat(batch.mask))
        return found.reshape(*batch.mask.shape, 3, 3)

    cell = batch.cell

    def one(g):
        def charges(places, _):
            return _charges(potential, batch, batch.positions.at[g].set(places))[g]

        own = batch.positions[g], cell[g]
        return born_charges(_neutral(charges, batch.mask[g]), *own, mask=batch.mask[g])

    return jax.lax.map(one, jnp.arange(batch.graphs))


def _charges(potential: Potential, batch: Batch, positions: Array) -> Array:
    found = potential.energies(dataclasses.replace(batch, positions=positions))[1]
    return found.astype(positions.dtype)


def _neutral(charges, mask):
    """Charges whose sum stays what it is when atoms move, as a cell demands."""

    def without_drift(places, cell):
        found = charges(places, cell)
        excess = jnp.sum(found) - jax.lax.stop_gradient(jnp.sum(found))
        return found - mask * excess / jnp.maximum(mask.sum(), 1)

    return without_drift


def _from_centre(batch: Batch) -> Float[Array, "graphs slots 3"]:
    """Positions from the centre of mass of each structure, zero on padding."""
    table = jnp.asarray(np.nan_to_num(atomic_masses), batch.positions.dtype)
    masses = jnp.where(batch.mask, table[batch.species], 0.0)
    share = masses / jnp.maximum(masses.sum(1, keepdims=True), 1e-6)
    centre = jnp.einsum(
        "gi,gic->gc", share, batch.positions, precision=jax.lax.Precision.HIGHEST
    )
    apart = batch.positions - centre[:, None]
    return jnp.where(batch.mask[..., None], apart, 0.0)
