"""Conjugate gradients with a preconditioner, and the number of their steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

type Linear = Callable[[Float[Array, " atoms"]], Float[Array, " atoms"]]


def conjugate_gradients(
    product: Linear,
    side: Float[Array, " atoms"],
    precondition: Linear,
    *,
    tolerance: float,
    max_steps: int = 500,
) -> tuple[Float[Array, " atoms"], Int[Array, ""]]:
    """The solution of a symmetric positive definite system, and the steps it took.

    Args:
        product: with the matrix.
        side: the right-hand side.
        precondition: with an approximate inverse, symmetric and positive definite.
        tolerance: the residual's norm relative to that of the side.
        max_steps: not converged after so many the solution is NaN.

    References:
        Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952).
    """
    goal = tolerance**2 * jnp.vdot(side, side)

    def wanted(state):
        _, residual, _, _, step = state
        return (jnp.vdot(residual, residual) > goal) & (step < max_steps)

    def advance(state):
        solution, residual, direction, weight, step = state
        image = product(direction)
        length = weight / jnp.vdot(direction, image)
        solution = solution + length * direction
        residual = residual - length * image
        better = precondition(residual)
        new_weight = jnp.vdot(residual, better)
        direction = better + (new_weight / weight) * direction
        return solution, residual, direction, new_weight, step + 1

    first = precondition(side)
    start = jnp.zeros_like(side), side, first, jnp.vdot(side, first), jnp.array(0)
    solution, residual, _, _, steps = jax.lax.while_loop(wanted, advance, start)
    converged = jnp.vdot(residual, residual) <= goal
    return jnp.where(converged, solution, jnp.nan), steps
