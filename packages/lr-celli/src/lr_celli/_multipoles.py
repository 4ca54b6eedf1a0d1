"""Gaussian multipoles of an atom, a charge or a charge and a dipole."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._gaussian import gaussian_derivatives, gaussian_interaction

Separation = Float[Array, "xyz *pairs"]
Terms = Float[Array, "terms *pairs"]


class Charges:
    """One Gaussian charge per atom.

    Attributes:
        components: number of unknowns per atom; vectors list the first component of
            all atoms, then the second.
    """

    components = 1

    def structure_factors(
        self, plane_waves: Float[Array, "atoms waves"], vectors: Float[Array, "half 3"]
    ) -> Float[Array, "atoms waves"]:
        """The contribution of each unit charge to the structure factors.

        Args:
            plane_waves: cosines, then sines, of every wave vector at the atoms.
            vectors: the wave vectors, 1/Å.
        """
        return plane_waves

    def interaction(
        self, variance: Float[Array, "..."]
    ) -> Callable[[Separation], Terms]:
        """The interaction of two Gaussians, 1/Å, as a function of their separation.

        Args:
            variance: sum of the squares of both widths, Å².
        """
        potential = gaussian_interaction(variance)

        def terms(separation: Separation) -> Terms:
            x, y, z = separation
            return potential(x * x + y * y + z * z)[None]

        return terms

    def matrix(
        self, pairs: Float[Array, "terms atoms half"]
    ) -> Float[Array, "atoms atoms"]:
        """The full matrix from the interactions of each pair."""
        return symmetric(pairs[0])


class ChargesAndDipoles:
    r"""A Gaussian charge and a Gaussian dipole per atom: $q + \mu\cdot\nabla$."""

    components = 4

    def structure_factors(
        self, plane_waves: Float[Array, "atoms waves"], vectors: Float[Array, "half 3"]
    ) -> Float[Array, "charges waves"]:
        """The plane waves and their derivatives along x, y and z."""
        cosine, sine = jnp.split(plane_waves, 2, axis=1)
        rotated = jnp.concatenate([-sine, cosine], axis=1)
        gradients = [rotated * jnp.tile(vectors[:, axis], 2) for axis in range(3)]
        return jnp.concatenate([plane_waves, *gradients])

    def interaction(
        self, variance: Float[Array, "..."]
    ) -> Callable[[Separation], Terms]:
        """Ten terms: the potential of a charge (1/Å), its gradient and its Hessian."""
        derivatives = gaussian_derivatives(variance)

        def terms(separation: Separation) -> Terms:
            x, y, z = separation
            potential, first, second = derivatives(x * x + y * y + z * z)
            gradient = [first * a for a in (x, y, z)]
            off_diagonal = [second * x * y, second * x * z, second * y * z]
            diagonal = [first + second * a * a for a in (x, y, z)]
            return jnp.stack([potential, *gradient, *diagonal, *off_diagonal])

        return terms

    def matrix(
        self, pairs: Float[Array, "terms atoms half"]
    ) -> Float[Array, "charges charges"]:
        """The full matrix; charge-dipole blocks are antisymmetric in the atoms."""
        charges = symmetric(pairs[0])
        x, y, z = (symmetric(gradient, -1.0) for gradient in pairs[1:4])
        # Derivatives with respect to the two atoms have opposite signs.
        xx, yy, zz, xy, xz, yz = (-symmetric(term) for term in pairs[4:])
        return jnp.block(
            [
                [charges, x, y, z],
                [-x, xx, xy, xz],
                [-y, xy, yy, yz],
                [-z, xz, yz, zz],
            ]
        )


Multipoles = Charges | ChargesAndDipoles


def circulant(
    values: Float[Array, " atoms *rest"],
) -> Float[Array, "atoms half *rest"]:
    """The values of the atoms `i + d`, cyclic, for `d` up to half the number of atoms.

    Each pair is listed once. Implemented as a tiling that is reshaped to rows longer by
    one, so that derivatives need no gather or scatter.
    """
    atoms, rest = values.shape[0], values.shape[1:]
    tiled = jnp.tile(values, (atoms + 1, *(1 for _ in rest)))
    return tiled.reshape(atoms, atoms + 1, *rest)[:, : atoms // 2 + 1]


def symmetric(
    pairs: Float[Array, "atoms half"], sign: float = 1.0
) -> Float[Array, "atoms atoms"]:
    """The full matrix from values of the pairs that `circulant` lists.

    Args:
        pairs: values for the atoms `i` and `i + d`.
        sign: 1 for a symmetric matrix, -1 for an antisymmetric one.
    """
    atoms, half = pairs.shape
    weights = jnp.ones(half).at[0].set(0.5)
    if atoms % 2 == 0:
        weights = weights.at[-1].set(0.5)
    rows = jnp.pad(pairs * weights.astype(pairs.dtype), ((0, 0), (0, atoms - half)))
    flat = jnp.tile(rows, 2).reshape(-1)[atoms:]
    matrix = flat.reshape(atoms, 2 * atoms - 1)[:, :atoms]
    return matrix + sign * matrix.T
