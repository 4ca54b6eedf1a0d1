"""Cells: inverses, volumes and how far one cell is strained from another."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# Room for the rounding of float32 when a cell is compared with the planned one.
ROUNDING = 1.0 + 1e-4


def dual_and_volume(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    By cross products: cheap under `vmap`, smooth to every order, and right for
    left-handed cells, whose volume is positive too.
    """
    normals = _cross(jnp.roll(cell, -1, axis=0), jnp.roll(cell, -2, axis=0))
    determinant = jnp.sum(normals[0] * cell[0])
    return normals / determinant, jnp.abs(determinant)


def fractional(
    positions: Float[Array, "atoms 3"], dual: Float[Array, "3 3"]
) -> Float[Array, "atoms 3"]:
    """Fractional coordinates in [-1/2, 1/2], one image of every atom."""
    coordinates = jnp.matmul(positions, dual.T, precision="highest")
    return coordinates - jax.lax.stop_gradient(jnp.round(coordinates))


def squared_vectors(
    indices: Float[Array, "vectors 3"],
    dual: Float[Array, "3 3"],
    valid: Bool[Array, " vectors"],
) -> Float[Array, " vectors"]:
    """Squares of the wave vectors of some integers, 1/Å²; 1 on padding."""
    k = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    return jnp.where(valid, jnp.sum(k * k, axis=1), 1.0)


def strained_within(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    """Whether no direction became longer or shorter by more than a factor `limit`.

    The singular values of the deformation that takes one cell into the other lie
    between `1/limit` and `limit`. No gradient passes. A cell of NaNs is not within any
    limit.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    forth = jnp.matmul(dual_and_volume(reference)[0].T, cell, precision="highest")
    back = jnp.matmul(dual_and_volume(cell)[0].T, reference, precision="highest")
    return _stretch_below(forth, limit) & _stretch_below(back, limit)


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
            f"The cell {cells[flat][0].tolist()} is singular: give three independent "
            "lattice vectors, or `cell=None` for open boundaries; slabs and wires are "
            "not supported."
        )
    return cells


def heights(cells: np.ndarray) -> np.ndarray:
    """Distances between opposite faces, Å, for any leading axes."""
    return 1 / np.linalg.norm(np.linalg.inv(cells), axis=-2)


def _cross(
    left: Float[Array, "rows 3"], right: Float[Array, "rows 3"]
) -> Float[Array, "rows 3"]:
    """Vector products of rows."""
    one, two = (lambda x: jnp.roll(x, -1, axis=1)), (lambda x: jnp.roll(x, -2, axis=1))
    return one(left) * two(right) - two(left) * one(right)


def _stretch_below(deform: Float[Array, "3 3"], limit: float) -> Bool[Array, ""]:
    """Whether the largest singular value is below `limit`, by three leading minors."""
    product = jnp.matmul(deform.T, deform, precision="highest")
    rest = limit**2 * jnp.eye(3, dtype=deform.dtype) - product
    minor = rest[0, 0] * rest[1, 1] - rest[0, 1] * rest[1, 0]
    determinant = jnp.sum(rest[:1] * _cross(rest[1:2], rest[2:]))
    return (rest[0, 0] > 0) & (minor > 0) & (determinant > 0)
