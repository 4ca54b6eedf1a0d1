"""Dipole and second moment of a structure; phases of atoms in a cell."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from ._lattice import checked_cells, reciprocal
from ._multipoles import Multipoles, traceless


def polarization(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
) -> Float[Array, "charge_channels 3"] | Complex[Array, "charge_channels 3"]:
    """The dipole moment of a molecule, or the phase form of that of a crystal, e Å."""
    charges, total = moments.charges, 0.0
    if moments.dipoles is not None:
        total = jnp.sum(moments.dipoles, axis=0)
    if cell is None:
        return jnp.matmul(charges.T, positions, precision="highest") + total
    lattice, phases = lattice_phases(positions, cell)
    waves = jnp.sin(phases) - 1j * jnp.cos(phases)
    fractional = jnp.matmul(charges.T + 0j, waves, precision="highest") / (2 * math.pi)
    return jnp.matmul(fractional, lattice + 0j, precision="highest") + total


def quadrupole(
    moments: Multipoles, positions: Float[Array, "atoms 3"]
) -> Float[Array, "charge_channels 3 3"]:
    """The traceless second moment, e Å²."""
    total = jnp.einsum(
        "ic,ia,ib->cab", moments.charges, positions, positions, precision="highest"
    )
    if moments.dipoles is not None:
        half = jnp.einsum(
            "ica,ib->cab", moments.dipoles, positions, precision="highest"
        )
        total = total + half + jnp.swapaxes(half, 1, 2)
    if moments.quadrupoles is not None:
        total = total + jnp.sum(moments.quadrupoles, axis=0)
    return traceless(total)


def lattice_phases(
    positions: Float[Array, "atoms 3"], cell: Float[Array | np.ndarray, "3 3"]
) -> tuple[Float[Array, "3 3"], Float[Array, "atoms 3"]]:
    """Returns the cell, and fractional coordinates as angles between -π and π."""
    if not isinstance(cell, Tracer):
        checked_cells(np.asarray(cell))
    lattice = jnp.asarray(cell, positions.dtype)
    dual, _ = reciprocal(lattice)
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
    return lattice, 2 * math.pi * fractional
