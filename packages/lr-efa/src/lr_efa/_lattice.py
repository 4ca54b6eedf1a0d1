"""Cells: reciprocal vectors, volume, strain relative to another cell, checks."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def reciprocal(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    Computed from cross products: infinitely differentiable, and valid for left-handed
    cells (the volume is positive).
    """
    a, b, c = cell
    normals = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    determinant = jnp.sum(normals[0] * a)
    return normals / determinant, jnp.abs(determinant)


def within_stretch(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    r"""Returns whether the largest stretch from `reference` to `cell` is below `limit`.

    The largest singular value of the deformation $F = R^{-1} C$ is below $s$ exactly if
    $s^2 - F^T F$ is positive definite, that is, if its three leading principal minors
    are positive. Gradients are stopped. False if the cell contains NaN.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    deformation = jnp.matmul(reciprocal(reference)[0].T, cell, precision="highest")
    square = jnp.matmul(deformation.T, deformation, precision="highest")
    difference = limit**2 * jnp.eye(3, dtype=cell.dtype) - square
    minor = difference[0, 0] * difference[1, 1] - difference[0, 1] * difference[1, 0]
    determinant = jnp.sum(difference[0] * jnp.cross(difference[1], difference[2]))
    return (difference[0, 0] > 0) & (minor > 0) & (determinant > 0)


def checked_cells(cells: np.ndarray) -> np.ndarray:
    """Returns the cells as float64 `[..., 3, 3]`; raises a ValueError if singular."""
    cells = np.asarray(cells, np.float64)
    if cells.ndim not in (2, 3) or cells.shape[-2:] != (3, 3):
        raise ValueError(
            "`cell` has shape [3, 3] (rows are lattice vectors), a batch of cells "
            f"[graphs, 3, 3], got {list(cells.shape)}."
        )
    length_products = np.prod(np.linalg.norm(cells, axis=-1), axis=-1)
    singular = ~(np.abs(np.linalg.det(cells)) > 1e-6 * length_products)
    if singular.any():
        raise ValueError(
            f"`cell` is singular: {cells[singular][0].tolist()} does not span space; "
            "only open boundaries (`cell=None`) and three periodic directions are "
            "supported, not slabs or wires."
        )
    return cells
