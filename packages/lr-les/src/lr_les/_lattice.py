"""Cells: reciprocal vectors, volume, strain relative to another cell, checks."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

# Tolerance for float32 rounding when a cell is compared with the planned one.
ROUNDING = 1.0 + 1e-4


def reciprocal(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    Computed from cross products, which are cheap under `vmap`, infinitely
    differentiable, and valid for left-handed cells (the volume is positive).
    """
    a, b, c = cell
    normals = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    determinant = jnp.sum(normals[0] * a)
    return normals / determinant, jnp.abs(determinant)


def checked_cells(cells: np.ndarray) -> np.ndarray:
    """Returns the cells as float64 `[..., 3, 3]`; raises a ValueError if singular."""
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
            f"The cell {cells[singular][0].tolist()} is singular: only open boundaries "
            "(`cell=None`) and three periodic directions are supported, not slabs, "
            "wires or molecules in a zero cell."
        )
    return cells


def concrete_cells(cells: Float[Array | np.ndarray, "..."]) -> np.ndarray:
    """Returns the cells in float64 on the host; raises a ValueError if traced."""
    if isinstance(cells, Tracer):
        raise ValueError(
            "The cell is traced, so the size of its reciprocal grid is unknown: make "
            "one on the host with `k_grid(cells)` or `layer.plan_for(...)` and pass it "
            "as `grid` to `energy`, as `plan` to a layer."
        )
    return checked_cells(np.asarray(cells))


def within_stretch(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    r"""Returns whether the largest stretch from `reference` to `cell` is below `limit`.

    The largest singular value of the deformation $F = R^{-1} C$ is below $s$ exactly if
    $s^2 - F^T F$ is positive definite, that is, if its three leading principal minors
    are positive. Gradients are stopped. False if the cell contains NaN.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    inverse = reciprocal(reference)[0].T
    deformation = jnp.matmul(inverse, cell, precision="highest")
    square = jnp.matmul(deformation.T, deformation, precision="highest")
    difference = limit**2 * jnp.eye(3, dtype=cell.dtype) - square
    minor = difference[0, 0] * difference[1, 1] - difference[0, 1] * difference[1, 0]
    determinant = jnp.sum(difference[0] * jnp.cross(difference[1], difference[2]))
    return (difference[0, 0] > 0) & (minor > 0) & (determinant > 0)
