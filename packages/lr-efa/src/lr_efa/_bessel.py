"""Spherical Bessel functions over powers of their argument, smooth at zero."""

import functools as ft
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@ft.partial(jax.custom_jvp, nondiff_argnums=(1,))
def bessel_over_power(
    squared: Float[Array, "*pairs"], degree: int
) -> Float[Array, "*pairs"]:
    r"""$j_l(x)/x^l$ of $x^2 \ge 0$; for $l = 0$ the sinc function $\sin x / x$.

    A power series below $x = \max(1, l)$, the upward recurrence from $\sin x$ and
    $\cos x$ above. As a function of $x^2$ it is entire, and its derivative is exactly
    $-\frac12 j_{l+1}(x)/x^{l+1}$, so that every derivative is finite at $x = 0$.

    Args:
        squared: $x^2$.
        degree: $l$.
    """
    switch = float(max(1, degree)) ** 2
    near = squared < switch
    small = jnp.where(near, squared, 0.0)
    large = jnp.where(near, switch, squared)
    return jnp.where(near, _series(small, degree), _recurrence(large, degree))


@bessel_over_power.defjvp
def _derivative(degree, primals, tangents):
    (squared,), (tangent,) = primals, tangents
    slope = -0.5 * bessel_over_power(squared, degree + 1)
    return bessel_over_power(squared, degree), slope * tangent


def _series(squared: Float[Array, "*pairs"], degree: int) -> Float[Array, "*pairs"]:
    """The power series, with enough terms for float64 at the switch point."""
    total = jnp.ones_like(squared)
    for n in reversed(range(1, 10 + degree)):
        total = 1.0 - total * squared / (2 * n * (2 * (n + degree) + 1))
    return total / math.prod(range(1, 2 * degree + 2, 2))


def _recurrence(squared: Float[Array, "*pairs"], degree: int) -> Float[Array, "*pairs"]:
    x = jnp.sqrt(squared)
    lower, current = jnp.cos(x), jnp.sin(x) / x
    for n in range(degree):
        # With f_n = j_n / x^n: x^2 f_{n+1} = (2 n + 1) f_n - f_{n-1}, f_{-1} = cos x.
        lower, current = current, ((2 * n + 1) * current - lower) / squared
    return current
