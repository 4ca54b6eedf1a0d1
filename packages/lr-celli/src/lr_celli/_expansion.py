"""What an atom carries, a charge or a charge and a dipole, and how two interact."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._gaussian import gaussian_derivatives, gaussian_interaction

Separation = Float[Array, "xyz *pairs"]
Terms = Float[Array, "terms *pairs"]


class Charges:
    """One Gaussian charge an atom.

    Attributes:
        kinds: unknowns of an atom. Those of all atoms lie kind by kind.
    """

    kinds = 1

    def waves(
        self, phases: Float[Array, "atoms waves"], vectors: Float[Array, "half 3"]
    ) -> Float[Array, "atoms waves"]:
        """What the charges send out, given cosines beside sines at the atoms.

        Args:
            phases: cosines, then sines, of every wave vector.
            vectors: the wave vectors, 1/Å.
        """
        return phases

    def interaction(
        self, variance: Float[Array, "..."]
    ) -> Callable[[Separation], Terms]:
        """The one term of two Gaussians, 1/Å, as a function of their separation.

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
        """All interactions from those of every pair once."""
        return symmetric(pairs[0])


class ChargesAndDipoles:
    r"""A Gaussian charge and a dipole of its width an atom: $q + \mu\cdot\nabla$."""

    kinds = 4

    def waves(
        self, phases: Float[Array, "atoms waves"], vectors: Float[Array, "half 3"]
    ) -> Float[Array, "charges waves"]:
        """The phases, and their slopes along x, y and z."""
        cosine, sine = jnp.split(phases, 2, axis=1)
        turned = jnp.concatenate([-sine, cosine], axis=1)
        slopes = [turned * jnp.tile(vectors[:, axis], 2) for axis in range(3)]
        return jnp.concatenate([phases, *slopes])

    def interaction(
        self, variance: Float[Array, "..."]
    ) -> Callable[[Separation], Terms]:
        """Ten terms: the potential of a charge (1/Å), its slopes, its curvatures."""
        derivatives = gaussian_derivatives(variance)

        def terms(separation: Separation) -> Terms:
            x, y, z = separation
            potential, first, second = derivatives(x * x + y * y + z * z)
            slopes = [first * a for a in (x, y, z)]
            across = [second * x * y, second * x * z, second * y * z]
            along = [first + second * a * a for a in (x, y, z)]
            return jnp.stack([potential, *slopes, *along, *across])

        return terms

    def matrix(
        self, pairs: Float[Array, "terms atoms half"]
    ) -> Float[Array, "charges charges"]:
        """A charge and a dipole meet with opposite signs in the two orders."""
        charges = symmetric(pairs[0])
        x, y, z = (symmetric(slope, -1.0) for slope in pairs[1:4])
        # Moving either atom by the same changes nothing: hence the minus.
        xx, yy, zz, xy, xz, yz = (-symmetric(term) for term in pairs[4:])
        return jnp.block(
            [
                [charges, x, y, z],
                [-x, xx, xy, xz],
                [-y, xy, yy, yz],
                [-z, xz, yz, zz],
            ]
        )


Expansion = Charges | ChargesAndDipoles


def circulant(
    values: Float[Array, " atoms *rest"],
) -> Float[Array, "atoms half *rest"]:
    """The values at `i + d`, cyclically, for `d` up to half the atoms: every pair once.

    A tiling read with rows longer by one, so that derivatives gather nothing.
    """
    atoms, rest = values.shape[0], values.shape[1:]
    tiled = jnp.tile(values, (atoms + 1, *(1 for _ in rest)))
    return tiled.reshape(atoms, atoms + 1, *rest)[:, : atoms // 2 + 1]


def symmetric(
    pairs: Float[Array, "atoms half"], sign: float = 1.0
) -> Float[Array, "atoms atoms"]:
    """The matrix of the pairs that `circulant` lists.

    Args:
        pairs: for the atoms `i` and `i + d`.
        sign: 1 or, for what changes sign with the order of a pair, -1.
    """
    atoms, half = pairs.shape
    weights = jnp.ones(half).at[0].set(0.5)
    if atoms % 2 == 0:
        weights = weights.at[-1].set(0.5)
    rows = jnp.pad(pairs * weights.astype(pairs.dtype), ((0, 0), (0, atoms - half)))
    flat = jnp.tile(rows, 2).reshape(-1)[atoms:]
    matrix = flat.reshape(atoms, 2 * atoms - 1)[:, :atoms]
    return matrix + sign * matrix.T
