"""Cells: reciprocal vectors, volumes and how far one is stretched from another."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def reciprocal(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    By cross products: smooth to every order and right for either handedness.
    """
    a, b, c = cell
    normals = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    determinant = jnp.sum(normals[0] * a)
    return normals / determinant, jnp.abs(determinant)


def within_stretch(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    r"""Whether no direction of `reference` became longer than `limit` times itself.

    With the deformation $F = R^{-1} C$, where $s^2 - F^T F$ is positive definite: its
    three leading minors are positive. No gradient passes; a cell of NaNs is outside.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    deform = jnp.matmul(reciprocal(reference)[0].T, cell, precision="highest")
    square = jnp.matmul(deform.T, deform, precision="highest")
    rest = limit**2 * jnp.eye(3, dtype=cell.dtype) - square
    minor = rest[0, 0] * rest[1, 1] - rest[0, 1] * rest[1, 0]
    determinant = jnp.sum(rest[0] * jnp.cross(rest[1], rest[2]))
    return (rest[0, 0] > 0) & (minor > 0) & (determinant > 0)


def checked_cells(cells: np.ndarray) -> np.ndarray:
    """The cells as float64 `[..., 3, 3]`, refused unless each spans space."""
    cells = np.asarray(cells, np.float64)
    if cells.ndim not in (2, 3) or cells.shape[-2:] != (3, 3):
        raise ValueError(
            "`cell` has shape [3, 3] (rows are lattice vectors), a batch of cells "
            f"[graphs, 3, 3], got {list(cells.shape)}."
        )
    lengths = np.prod(np.linalg.norm(cells, axis=-1), axis=-1)
    flat = ~(np.abs(np.linalg.det(cells)) > 1e-6 * lengths)
    if flat.any():
        raise ValueError(
            f"`cell` is singular: {cells[flat][0].tolist()} does not span space; only "
            "open boundaries (`cell=None`) and three periodic directions are "
            "supported, not slabs or wires."
        )
    return cells
