"""The sum over pairs of atoms in open boundaries."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._blocks import in_blocks
from ._kernels import AbstractKernel
from ._multipoles import Multipoles

# Above this size pairs of atoms are not held at once.
_PAIR_BYTES = 2**27


def open_potential(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
) -> Multipoles:
    r"""The derivative of the open energy by every moment, own moments included.

    $$ E = \frac12 \sum_{ij} D_i D_j K(r_{ij}), \qquad
       D = q + u \cdot \nabla + \tfrac12 Q : \nabla\nabla $$

    Large systems take the atoms in blocks, one after the other, each with all others,
    and recompute each for derivatives.
    """
    atoms, order = len(positions), 2 * moments.degree
    bytes_of_one = atoms * (1 + 3 * order) * positions.dtype.itemsize
    block = max(16, _PAIR_BYTES // max(bytes_of_one, 1))

    def potential(some: Multipoles, places: Float[Array, "some 3"]) -> Multipoles:
        pair_energy = lambda some: jnp.sum(
            _pair_energies(some, moments, places, positions, kernel, sigma)
        )
        return jax.grad(pair_energy)(some)

    if atoms <= block:
        return potential(moments, positions)
    rows = in_blocks((moments, positions), block)
    found = jax.lax.map(jax.checkpoint(lambda row: potential(*row)), rows)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:atoms], found)


def _pair_energies(
    left: Multipoles,
    right: Multipoles,
    left_positions: Float[Array, "some 3"],
    right_positions: Float[Array, "atoms 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
) -> Float[Array, "some atoms"]:
    r"""$D_i D_j K$ with traceless $Q$, in the products of moments and separation."""
    apart = left_positions[:, None] - right_positions[None, :]
    b = kernel.radial(jnp.sum(apart**2, axis=-1), sigma, 2 * left.degree)
    energies = _sum("ic,jc->ij", left.charges, right.charges) * b[0]
    if left.dipoles is None or right.dipoles is None:
        return energies
    # From here on the channels stand apart: axes are i, j and c.
    q, p = left.charges[:, None], right.charges[None]
    u, v = (
        _sum("ijx,icx->ijc", apart, left.dipoles),
        _sum("ijx,jcx->ijc", apart, right.dipoles),
    )
    energies += jnp.sum(q * v - u * p, -1) * b[1]
    energies += _sum("icx,jcx->ij", left.dipoles, right.dipoles) * b[1]
    energies -= jnp.sum(u * v, -1) * b[2]
    if left.quadrupoles is None or right.quadrupoles is None:
        return energies
    lean = _sum("icxy,ijy->ijcx", left.quadrupoles, apart)
    turn = _sum("jcxy,ijy->ijcx", right.quadrupoles, apart)
    s, t = _sum("ijcx,ijx->ijc", lean, apart), _sum("ijcx,ijx->ijc", turn, apart)
    energies += 0.5 * jnp.sum(q * t + p * s, -1) * b[2]
    energies += _sum("icx,ijcx->ij", left.dipoles, turn) * b[2]
    energies -= _sum("jcx,ijcx->ij", right.dipoles, lean) * b[2]
    energies += 0.5 * _sum("icxy,jcxy->ij", left.quadrupoles, right.quadrupoles) * b[2]
    energies -= (0.5 * jnp.sum(u * t - v * s, -1) + jnp.sum(lean * turn, (-1, -2))) * b[
        3
    ]
    return energies + 0.25 * jnp.sum(s * t, -1) * b[4]


def _sum(axes: str, *factors: Array) -> Array:
    return jnp.einsum(axes, *factors, precision="highest")
