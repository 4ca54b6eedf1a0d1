"""Preconditioned conjugate gradients that also return the number of steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

type Linear = Callable[[Float[Array, " atoms"]], Float[Array, " atoms"]]


def conjugate_gradients(
    matvec: Linear,
    rhs: Float[Array, " atoms"],
    preconditioner: Linear,
    *,
    tolerance: float,
    max_steps: int = 500,
) -> tuple[Float[Array, " atoms"], Int[Array, ""]]:
    """Solves a symmetric positive definite linear system.

    Args:
        matvec: product of the matrix with a vector.
        rhs: right-hand side.
        preconditioner: product of an approximate inverse, symmetric and positive
            definite, with a vector.
        tolerance: norm of the residual relative to the norm of `rhs`.
        max_steps: maximum number of steps.

    Returns:
        The solution, NaN if not converged, and the number of steps.

    References:
        Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952).
    """
    threshold = tolerance**2 * jnp.vdot(rhs, rhs)

    def unconverged(state):
        _, residual, _, _, step = state
        return (jnp.vdot(residual, residual) > threshold) & (step < max_steps)

    def advance(state):
        solution, residual, direction, weight, step = state
        image = matvec(direction)
        length = weight / jnp.vdot(direction, image)
        solution = solution + length * direction
        residual = residual - length * image
        preconditioned = preconditioner(residual)
        new_weight = jnp.vdot(residual, preconditioned)
        direction = preconditioned + (new_weight / weight) * direction
        return solution, residual, direction, new_weight, step + 1

    first = preconditioner(rhs)
    start = jnp.zeros_like(rhs), rhs, first, jnp.vdot(rhs, first), jnp.array(0)
    solution, residual, _, _, steps = jax.lax.while_loop(unconverged, advance, start)
    converged = jnp.vdot(residual, residual) <= threshold
    return jnp.where(converged, solution, jnp.nan), steps
