"""The sum over pairs of atoms in open boundaries."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._blocks import split_into_blocks
from ._kernels import AbstractKernel
from ._multipoles import Multipoles

# Maximum size of the arrays over pairs; larger sums are computed in blocks.
_PAIR_BYTES = 2**27


def open_potential(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
) -> Multipoles:
    r"""Derivative of the open energy with respect to every multipole moment.

    $$ E = \frac12 \sum_{ij} D_i D_j K(r_{ij}), \qquad
       D = q + u \cdot \nabla + \tfrac12 Q : \nabla\nabla $$

    The self interaction is included. Large systems process the atoms in blocks, which
    are rematerialized in the backward pass.
    """
    atoms, order = len(positions), 2 * moments.degree
    bytes_per_row = atoms * (1 + 3 * order) * positions.dtype.itemsize
    block_size = max(16, _PAIR_BYTES // max(bytes_per_row, 1))

    def potential(
        left: Multipoles, left_positions: Float[Array, "rows 3"]
    ) -> Multipoles:
        pair_energy = lambda left: jnp.sum(
            _pair_energies(left, moments, left_positions, positions, kernel, sigma)
        )
        return jax.grad(pair_energy)(left)

    if atoms <= block_size:
        return potential(moments, positions)
    blocks = split_into_blocks((moments, positions), block_size)
    by_block = jax.lax.map(jax.checkpoint(lambda block: potential(*block)), blocks)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:atoms], by_block)


def _pair_energies(
    left: Multipoles,
    right: Multipoles,
    left_positions: Float[Array, "rows 3"],
    right_positions: Float[Array, "atoms 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
) -> Float[Array, "rows atoms"]:
    r"""$D_i D_j K$ with traceless $Q$, written out in products with the separation."""
    separation = left_positions[:, None] - right_positions[None, :]
    b = kernel.radial(jnp.sum(separation**2, axis=-1), sigma, 2 * left.degree)
    energies = _sum("ic,jc->ij", left.charges, right.charges) * b[0]
    if left.dipoles is None or right.dipoles is None:
        return energies
    # Axes of the following products: i, j and the channel c.
    q, p = left.charges[:, None], right.charges[None]
    u, v = (
        _sum("ijx,icx->ijc", separation, left.dipoles),
        _sum("ijx,jcx->ijc", separation, right.dipoles),
    )
    energies += jnp.sum(q * v - u * p, -1) * b[1]
    energies += _sum("icx,jcx->ij", left.dipoles, right.dipoles) * b[1]
    energies -= jnp.sum(u * v, -1) * b[2]
    if left.quadrupoles is None or right.quadrupoles is None:
        return energies
    left_vector = _sum("icxy,ijy->ijcx", left.quadrupoles, separation)
    right_vector = _sum("jcxy,ijy->ijcx", right.quadrupoles, separation)
    s, t = (
        _sum("ijcx,ijx->ijc", left_vector, separation),
        _sum("ijcx,ijx->ijc", right_vector, separation),
    )
    energies += 0.5 * jnp.sum(q * t + p * s, -1) * b[2]
    energies += _sum("icx,ijcx->ij", left.dipoles, right_vector) * b[2]
    energies -= _sum("jcx,ijcx->ij", right.dipoles, left_vector) * b[2]
    energies += 0.5 * _sum("icxy,jcxy->ij", left.quadrupoles, right.quadrupoles) * b[2]
    energies -= (
        0.5 * jnp.sum(u * t - v * s, -1) + jnp.sum(left_vector * right_vector, (-1, -2))
    ) * b[3]
    return energies + 0.25 * jnp.sum(s * t, -1) * b[4]


def _sum(axes: str, *factors: Array) -> Array:
    return jnp.einsum(axes, *factors, precision="highest")
