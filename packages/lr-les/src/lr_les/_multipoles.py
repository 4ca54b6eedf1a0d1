"""Charges, dipoles and quadrupoles of the atoms, and their energy with a potential."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._kernels import AbstractKernel


class Multipoles(eqx.Module):
    r"""Moments $q$, $u$, $Q$ of every atom; or, alike in shape, what they couple to.

    As an operator on a potential they read $q + u \cdot \nabla + \frac12 Q :
    \nabla\nabla$. What they couple to is the derivative of the energy by each: the
    potential, minus the field, half of the potential's second derivative.
    """

    charges: Float[Array, "atoms charge_channels"]
    dipoles: Float[Array, "atoms charge_channels 3"] | None = None
    quadrupoles: Float[Array, "atoms charge_channels 3 3"] | None = None

    @property
    def degree(self) -> int:
        """Zero for charges alone, one with dipoles, two with quadrupoles."""
        if self.quadrupoles is not None:
            return 2
        return int(self.dipoles is not None)

    def dot(self, other: "Multipoles") -> Float[Array, " atoms"]:
        """The product with conjugate quantities, summed over all but the atoms."""
        products = jax.tree.map(lambda a, b: a * b, self, other)
        flat = [x.reshape(len(x), -1) for x in jax.tree.leaves(products)]
        return jnp.sum(jnp.concatenate(flat, axis=1), axis=1)

    def along(self, dual: Float[Array, "3 3"]) -> "Multipoles":
        """The same moments in components along the lattice vectors."""
        dipoles, quadrupoles = self.dipoles, self.quadrupoles
        if dipoles is not None:
            dipoles = jnp.matmul(dipoles, dual.T, precision="highest")
        if quadrupoles is not None:
            half = jnp.matmul(dual, quadrupoles, precision="highest")
            quadrupoles = jnp.matmul(half, dual.T, precision="highest")
        return Multipoles(self.charges, dipoles, quadrupoles)

    def own_potential(
        self, kernel: AbstractKernel, sigma: Float[Array, ""]
    ) -> "Multipoles":
        r"""What every atom feels of itself: $q B_0$, $u B_1$, $Q B_2/2$ at $r = 0$."""
        here = kernel.radial(jnp.zeros_like(sigma), sigma, self.degree)
        factors = (1.0, 1.0, 0.5)
        leaves, tree = jax.tree.flatten(self)
        own = [f * b * x for f, b, x in zip(factors, here, leaves, strict=False)]
        return jax.tree.unflatten(tree, own)


def masked(
    charges: Float[Array, "atoms charge_channels"],
    mask: Bool[Array, " atoms"],
    *,
    neutralize: bool,
) -> Float[Array, "atoms charge_channels"]:
    """The charges, zero on padding and, if asked for, without their mean."""
    live = mask[:, None]
    charges = jnp.where(live, charges, 0.0)
    if neutralize:
        count = jnp.maximum(jnp.sum(mask), 1).astype(charges.dtype)
        charges = jnp.where(live, charges - jnp.sum(charges, axis=0) / count, 0.0)
    return charges


def traceless(
    quadrupoles: Float[Array, "*atoms 3 3"],
) -> Float[Array, "*atoms 3 3"]:
    """The symmetric traceless part, all that acts at a distance."""
    symmetric = 0.5 * (quadrupoles + jnp.swapaxes(quadrupoles, -1, -2))
    trace = jnp.trace(symmetric, axis1=-2, axis2=-1)[..., None, None]
    return symmetric - trace * (jnp.eye(3, dtype=symmetric.dtype) / 3)
