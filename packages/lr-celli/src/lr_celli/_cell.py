"""Cells: inverse and volume, fractional coordinates, wave vectors, heights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def dual_and_volume(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    As `reciprocal`, which differs in the rounding of the last bit: from cross products,
    smooth to every order; the volume of left-handed cells is positive too.
    """
    normals = _cross(jnp.roll(cell, -1, axis=0), jnp.roll(cell, -2, axis=0))
    determinant = jnp.sum(normals[0] * cell[0])
    return normals / determinant, jnp.abs(determinant)


def fractional(
    positions: Float[Array, "atoms 3"], dual: Float[Array, "3 3"]
) -> Float[Array, "atoms 3"]:
    """Fractional coordinates wrapped to [-1/2, 1/2]."""
    coordinates = jnp.matmul(positions, dual.T, precision="highest")
    return coordinates - jax.lax.stop_gradient(jnp.round(coordinates))


def squared_lengths(
    indices: Float[Array, "vectors 3"],
    dual: Float[Array, "3 3"],
    valid: Bool[Array, " vectors"],
) -> Float[Array, " vectors"]:
    """Squared lengths of the wave vectors with these indices, 1/Å²; 1 on padding."""
    k = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    return jnp.where(valid, jnp.sum(k * k, axis=1), 1.0)


def heights(cells: np.ndarray) -> np.ndarray:
    """Distances of the opposite faces of cells `[..., 3, 3]`, Å."""
    return 1 / np.linalg.norm(np.linalg.inv(cells), axis=-2)


def _cross(
    left: Float[Array, "rows 3"], right: Float[Array, "rows 3"]
) -> Float[Array, "rows 3"]:
    """Cross products of rows."""
    roll = lambda x, shift: jnp.roll(x, -shift, axis=1)
    return roll(left, 1) * roll(right, 2) - roll(left, 2) * roll(right, 1)
