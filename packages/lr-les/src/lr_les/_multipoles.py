"""Charges, dipoles and quadrupoles of atoms."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from ._kernels import AbstractKernel


class Multipoles(eqx.Module):
    r"""Moments $q$, $u$, $Q$ of every atom, or the derivatives with respect to them.

    Acting on a potential, the moments are the operator $q + u \cdot \nabla + \frac12 Q
    : \nabla\nabla$. The derivatives of the energy with respect to $q$, $u$ and $Q$ have
    the same shapes: the potential, minus the field, and half of the second derivative
    of the potential.

    Attributes:
        charges: one per atom, or several channels, e.
        dipoles: of every atom, with the channels of the charges, e Å; None is zero.
        quadrupoles: second moments of every atom, e Å², of which the symmetric
            traceless part contributes; None is zero.
    """

    charges: Float[Array, " atoms *charge_channels"]
    dipoles: Float[Array, "atoms *charge_channels 3"] | None = None
    quadrupoles: Float[Array, "atoms *charge_channels 3 3"] | None = None

    @property
    def degree(self) -> int:
        """Largest degree: 0 for charges alone, 1 with dipoles, 2 with quadrupoles."""
        if self.quadrupoles is not None:
            return 2
        return int(self.dipoles is not None)

    def prepared(
        self, mask: Bool[Array, " atoms"], dtype: DTypeLike, *, neutralize: bool
    ) -> "Multipoles":
        """Returns the moments with a channel axis, zero on padding, traceless.

        Quadrupoles imply dipoles.
        """
        atoms, dipoles, quadrupoles = len(mask), self.dipoles, self.quadrupoles
        charges = self.charges.reshape(atoms, -1).astype(dtype)
        charges = masked(charges, mask, neutralize=neutralize)
        shape = charges.shape
        if dipoles is None and quadrupoles is not None:
            dipoles = jnp.zeros((*shape, 3), dtype)
        if dipoles is not None:
            dipoles = dipoles.reshape(*shape, 3).astype(dtype)
            dipoles = jnp.where(mask[:, None, None], dipoles, 0.0)
        if quadrupoles is not None:
            quadrupoles = quadrupoles.reshape(*shape, 3, 3).astype(dtype)
            real_atoms = mask[:, None, None, None]
            quadrupoles = traceless(jnp.where(real_atoms, quadrupoles, 0.0))
        return Multipoles(charges, dipoles, quadrupoles)

    def dot(self, other: "Multipoles") -> Float[Array, " atoms"]:
        """Returns the scalar product per atom, summed over channels and components."""
        products = jax.tree.map(lambda a, b: a * b, self, other)
        flat = [x.reshape(len(x), -1) for x in jax.tree.leaves(products)]
        return jnp.sum(jnp.concatenate(flat, axis=1), axis=1)

    def to_fractional(self, dual: Float[Array, "3 3"]) -> "Multipoles":
        """Returns the moments in components along the lattice vectors."""
        dipoles, quadrupoles = self.dipoles, self.quadrupoles
        if dipoles is not None:
            dipoles = jnp.matmul(dipoles, dual.T, precision="highest")
        if quadrupoles is not None:
            half = jnp.matmul(dual, quadrupoles, precision="highest")
            quadrupoles = jnp.matmul(half, dual.T, precision="highest")
        return Multipoles(self.charges, dipoles, quadrupoles)

    def self_potential(
        self, kernel: AbstractKernel, sigma: Float[Array, ""]
    ) -> "Multipoles":
        r"""Returns the self interaction: $q B_0$, $u B_1$, $Q B_2/2$ at $r = 0$."""
        at_zero = kernel.radial(jnp.zeros_like(sigma), sigma, self.degree)
        factors = (1.0, 1.0, 0.5)
        leaves, tree = jax.tree.flatten(self)
        terms = [f * b * x for f, b, x in zip(factors, at_zero, leaves, strict=False)]
        return jax.tree.unflatten(tree, terms)


def masked(
    charges: Float[Array, "atoms charge_channels"],
    mask: Bool[Array, " atoms"],
    *,
    neutralize: bool,
) -> Float[Array, "atoms charge_channels"]:
    """Returns the charges, zero on padding and optionally without their mean."""
    row_mask = mask[:, None]
    charges = jnp.where(row_mask, charges, 0.0)
    if neutralize:
        count = jnp.maximum(jnp.sum(mask), 1).astype(charges.dtype)
        charges = jnp.where(row_mask, charges - jnp.sum(charges, axis=0) / count, 0.0)
    return charges


def traceless(
    quadrupoles: Float[Array, "*atoms 3 3"],
) -> Float[Array, "*atoms 3 3"]:
    """Returns the symmetric traceless part, which determines the outer potential."""
    symmetric = 0.5 * (quadrupoles + jnp.swapaxes(quadrupoles, -1, -2))
    trace = jnp.trace(symmetric, axis1=-2, axis2=-1)[..., None, None]
    return symmetric - trace * (jnp.eye(3, dtype=symmetric.dtype) / 3)
