"""Cells: reciprocal vectors, volumes, and which cells are refused."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def reciprocal(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    Cross products instead of a factorisation: cheap under `vmap`, smooth to every
    order, and right for left-handed cells (the volume is positive).
    """
    a, b, c = cell
    normals = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    determinant = jnp.sum(normals[0] * a)
    return normals / determinant, jnp.abs(determinant)


def checked_cells(cells: np.ndarray) -> np.ndarray:
    """The cells as float64 `[..., 3, 3]`, refused unless each spans space."""
    cells = np.asarray(cells, np.float64)
    if cells.ndim not in (2, 3) or cells.shape[-2:] != (3, 3):
        raise ValueError(
            "A cell has shape [3, 3] (rows are lattice vectors) and a batch of cells "
            f"[graphs, 3, 3], got {list(cells.shape)}."
        )
    lengths = np.prod(np.linalg.norm(cells, axis=-1), axis=-1)
    flat = ~(np.abs(np.linalg.det(cells)) > 1e-6 * lengths)
    if flat.any():
        raise ValueError(
            f"The cell {cells[flat][0].tolist()} is singular: only open boundaries "
            "(`cell=None`) and three periodic directions are supported, not slabs, "
            "wires or molecules in a zero cell."
        )
    return cells
