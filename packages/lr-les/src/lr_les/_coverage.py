"""What a plan made on the host holds for: concrete cells, near enough to its own."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._lattice import checked_cells, reciprocal

# Room for the rounding of float32 when a cell is compared with the planned one.
ROUNDING = 1.0 + 1e-4


def concrete_cells(cells: Float[Array | np.ndarray, "..."]) -> np.ndarray:
    """The cells in float64 on the host; traced or singular ones are refused."""
    if isinstance(cells, Tracer):
        raise ValueError(
            "The cell is traced, so the size of its reciprocal grid is unknown: make "
            "one on the host with `k_grid(cells)` or `layer.plan_for(...)` and pass it "
            "as `grid` to `energy`, as `plan` to a layer."
        )
    return checked_cells(np.asarray(cells))


def positive(name: str, kind: str, value: float) -> None:
    """Refuses a number that is not above zero."""
    if not value > 0:
        raise ValueError(f"`{name}` is a {kind} and must be positive, got {value}.")


def within_stretch(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    r"""Whether no direction of `reference` became longer than `limit` times itself.

    The deformation is $F = R^{-1} C$; its largest singular value is below $s$ exactly
    where $s^2 - F^T F$ is positive definite, which three leading minors decide.
    No gradient passes. A cell of NaNs is not within any limit.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    inverse = reciprocal(reference)[0].T
    deform = jnp.matmul(inverse, cell, precision="highest")
    rest = limit**2 * jnp.eye(3, dtype=cell.dtype) - jnp.matmul(
        deform.T, deform, precision="highest"
    )
    minor = rest[0, 0] * rest[1, 1] - rest[0, 1] * rest[1, 0]
    determinant = jnp.sum(rest[0] * jnp.cross(rest[1], rest[2]))
    return (rest[0, 0] > 0) & (minor > 0) & (determinant > 0)
