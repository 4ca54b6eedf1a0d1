"""Incomplete gamma functions over powers of their argument, smooth at zero."""

import functools as ft
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Number of terms for which the power series below one converges to float64.
_TERMS = 18


@ft.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def gaussian_moments(
    start: float, x: Float[Array, "*pairs"], order: int
) -> list[Float[Array, "*pairs"]]:
    r"""$G_a(x) = \int_0^1 s^{a-1} e^{-xs} ds$ for $a$ = `start`, ..., `start + order`.

    Equal to $\gamma(a, x)/x^a$ with the lower incomplete gamma function;
    $G_a' = -G_{a+1}$. Below $x = 1$ the highest order is a power series and the lower
    ones follow from $G_a = (x G_{a+1} + e^{-x})/a$; above, the same recursion is used
    upwards from a closed form. Each branch is evaluated at a safe argument where the
    other one is selected, so that no gradient is NaN.

    Args:
        start: the lowest $a$, 1/2 or 3.
        x: argument, not negative.
        order: the highest $a$ is `start + order`.
    """
    small = x < 1.0
    below = _downward_recursion(start, jnp.where(small, x, 0.0), order)
    above = _upward_recursion(start, jnp.where(small, 1.0, x), order)
    return [jnp.where(small, *pair) for pair in zip(below, above, strict=True)]


@gaussian_moments.defjvp
def _derivative(start, order, primals, tangents):
    values = gaussian_moments(start, primals[0], order + 1)
    return values[:-1], [-value * tangents[0] for value in values[1:]]


def _downward_recursion(start: float, x: Array, order: int) -> list[Array]:
    top = start + order
    series = jnp.zeros_like(x)
    for n in reversed(range(_TERMS)):
        series = series * x + (-1) ** n / (math.factorial(n) * (top + n))
    values, decay = [series], jnp.exp(-x)
    for n in reversed(range(order)):
        values.append((x * values[-1] + decay) / (start + n))
    return values[::-1]


def _upward_recursion(start: float, x: Array, order: int) -> list[Array]:
    decay = jnp.exp(-x)
    if start == 0.5:
        root = jnp.sqrt(x)
        values = [math.sqrt(math.pi) * jax.scipy.special.erf(root) / root]
    else:
        values = [(2.0 - decay * (x * x + 2.0 * x + 2.0)) / x**3]
    for n in range(order):
        values.append(((start + n) * values[-1] - decay) / x)
    return values
