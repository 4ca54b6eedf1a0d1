"""Cells: inverses, volumes and the strain between two cells."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# Factor for rounding in float32 when a cell is compared with that of the plan.
ROUNDING = 1.0 + 1e-4


def dual_and_volume(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    Computed from cross products, which are fast under `vmap` and smooth to every order.
    The volume of left-handed cells is positive too.
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


def strain_is_within(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    """Whether all singular values of a deformation are in `(1/limit, limit)`.

    The deformation maps `reference` to `cell`. Gradients are stopped. False if the
    cell contains NaN.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    deformation = jnp.matmul(dual_and_volume(reference)[0].T, cell, precision="highest")
    inverse = jnp.matmul(dual_and_volume(cell)[0].T, reference, precision="highest")
    return _stretch_below(deformation, limit) & _stretch_below(inverse, limit)


def checked_cells(cells: np.ndarray) -> np.ndarray:
    """The cells in float64, `[..., 3, 3]`; raises ValueError if one is singular."""
    cells = np.asarray(cells, np.float64)
    if cells.ndim not in (2, 3) or cells.shape[-2:] != (3, 3):
        raise ValueError(
            "A cell has shape [3, 3] (rows are lattice vectors) and a batch of cells "
            f"[graphs, 3, 3], got {list(cells.shape)}."
        )
    length_products = np.prod(np.linalg.norm(cells, axis=-1), axis=-1)
    singular = ~(np.abs(np.linalg.det(cells)) > 1e-6 * length_products)
    if singular.any():
        raise ValueError(
            f"The cell {cells[singular][0].tolist()} is singular: give three "
            "independent lattice vectors, or `cell=None` for open boundaries; slabs "
            "and wires are not supported."
        )
    return cells


def heights(cells: np.ndarray) -> np.ndarray:
    """Perpendicular widths of cells `[..., 3, 3]`: distances of opposite faces, Å."""
    return 1 / np.linalg.norm(np.linalg.inv(cells), axis=-2)


def _cross(
    left: Float[Array, "rows 3"], right: Float[Array, "rows 3"]
) -> Float[Array, "rows 3"]:
    """Cross products of rows."""
    roll = lambda x, shift: jnp.roll(x, -shift, axis=1)
    return roll(left, 1) * roll(right, 2) - roll(left, 2) * roll(right, 1)


def _stretch_below(deformation: Float[Array, "3 3"], limit: float) -> Bool[Array, ""]:
    """Whether the largest singular value is below `limit`.

    By Sylvester's criterion (three leading principal minors).
    """
    product = jnp.matmul(deformation.T, deformation, precision="highest")
    matrix = limit**2 * jnp.eye(3, dtype=deformation.dtype) - product
    minor = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    determinant = jnp.sum(matrix[:1] * _cross(matrix[1:2], matrix[2:]))
    return (matrix[0, 0] > 0) & (minor > 0) & (determinant > 0)
