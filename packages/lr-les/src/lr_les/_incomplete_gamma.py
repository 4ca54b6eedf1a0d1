"""The integrals behind smeared interactions, smooth at coinciding atoms."""

import functools as ft
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Below one the power series converges to float64 in this many terms.
_TERMS = 18


@ft.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def gaussian_moments(
    start: float, x: Float[Array, "*pairs"], order: int
) -> list[Float[Array, "*pairs"]]:
    r"""$G_a(x) = \int_0^1 s^{a-1} e^{-xs} ds$ for $a$ = `start`, ..., `start + order`.

    It is $\gamma(a, x)/x^a$ with the lower incomplete gamma function, and $G_a' =
    -G_{a+1}$. Below $x = 1$ the highest one is a power series and the others follow
    from $G_a = (x G_{a+1} + e^{-x})/a$; above, the same recursion runs upwards from a
    closed form. Each branch is given harmless arguments where the other is meant, so
    that no value is NaN; derivatives are the next higher ones.

    Args:
        start: the lowest $a$, 1/2 or 3.
        x: not negative.
        order: how many more than one.
    """
    near = x < 1.0
    below = _downwards(start, jnp.where(near, x, 0.0), order)
    above = _upwards(start, jnp.where(near, 1.0, x), order)
    return [jnp.where(near, *pair) for pair in zip(below, above, strict=True)]


@gaussian_moments.defjvp
def _next_higher(start, order, primals, tangents):
    values = gaussian_moments(start, primals[0], order + 1)
    return values[:-1], [-value * tangents[0] for value in values[1:]]


def _downwards(start: float, x: Array, order: int) -> list[Array]:
    top = start + order
    series = jnp.zeros_like(x)
    for n in reversed(range(_TERMS)):
        series = series * x + (-1) ** n / (math.factorial(n) * (top + n))
    values, decay = [series], jnp.exp(-x)
    for n in reversed(range(order)):
        values.append((x * values[-1] + decay) / (start + n))
    return values[::-1]


def _upwards(start: float, x: Array, order: int) -> list[Array]:
    decay = jnp.exp(-x)
    if start == 0.5:
        root = jnp.sqrt(x)
        values = [math.sqrt(math.pi) * jax.scipy.special.erf(root) / root]
    else:
        values = [(2.0 - decay * (x * x + 2.0 * x + 2.0)) / x**3]
    for n in range(order):
        values.append(((start + n) * values[-1] - decay) / x)
    return values
