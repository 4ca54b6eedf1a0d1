"""DimeNet's basis of distance and angle: spherical waves."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def spherical_bessel(x: Float[Array, "*shape"], degree: int) -> Float[Array, "*shape"]:
    r"""Returns the spherical Bessel function $j_l$ of nonnegative numbers.

    For $x > l + 2$ it is computed from sines and cosines by the recurrence
    $j_{l+1} = (2l + 1)\, j_l / x - j_{l-1}$, which is stable there, and for smaller x
    by the power series. Both are accurate to rounding.

    Args:
        x: argument, not negative.
        degree: l.

    References:
        DLMF 10.51.1, 10.53.1.
    """
    boundary = degree + 2.0
    small = x < boundary
    large_x = _recurrence(jnp.where(small, boundary, x), degree, jnp)
    return jnp.where(small, _series(jnp.where(small, x, 1.0), degree), large_x)


def _recurrence(x, degree: int, module):
    previous, current = module.cos(x) / x, module.sin(x) / x  # j_-1 and j_0
    for l in range(degree):  # noqa: E741
        previous, current = current, (2 * l + 1) / x * current - previous
    return current


def _series(x, degree: int):
    square, boundary = x * x, degree + 2.0
    ratios = []
    size = 1.0  # of the first omitted term at the boundary
    while size > 1e-18:
        k = len(ratios) + 1
        ratios.append(-1 / (2 * k * (2 * degree + 2 * k + 1)))
        size *= abs(ratios[-1]) * boundary**2
    total = jnp.ones_like(x)
    for ratio in reversed(ratios):
        total = 1 + ratio * square * total
    odd = math.prod(range(1, 2 * degree + 2, 2))
    return x**degree / odd * total


@functools.lru_cache
def bessel_zeros(degrees: int, count: int) -> np.ndarray:
    """Returns the first zeros of the spherical Bessel functions, `(degrees, count)`.

    They are found by bisection: the zeros of one degree are between those of the degree
    below.

    Args:
        degrees: number of l, from 0.
        count: number of zeros of each.
    """
    brackets = np.pi * np.arange(1, count + degrees)
    rows = [brackets[:count]]
    for degree in range(1, degrees):
        low, high = brackets[:-1].copy(), brackets[1:].copy()
        sign = np.sign(_recurrence(low, degree, np))
        for _ in range(64):
            middle = (low + high) / 2
            left = np.sign(_recurrence(middle, degree, np)) == sign
            low, high = np.where(left, middle, low), np.where(left, high, middle)
        brackets = (low + high) / 2
        rows.append(brackets[:count])
    return np.stack(rows)


def radial_waves(
    distance: Float[Array, " edges"], cutoff: float, degrees: int, count: int
) -> Float[Array, "edges degrees count"]:
    r"""Returns the normalized radial parts of standing waves in a ball.

    $$ \sqrt{2 / (c^3 j_{l+1}^2(z_{ln}))}\; j_l(z_{ln} d / c) $$

    with the n-th zero $z_{ln}$ of $j_l$. They vanish at the cutoff.

    Args:
        distance: d, Å.
        cutoff: c, Å.
        degrees: number of l, from 0.
        count: number of n, from 1.

    References:
        arXiv 2003.03123, eq. 6.
    """
    zeros = bessel_zeros(degrees, count)
    waves = []
    for degree, row in enumerate(zeros):
        scale = (2 / cutoff**3) ** 0.5 / np.abs(_recurrence(row, degree + 1, np))
        x = distance[:, None] / cutoff * jnp.asarray(row, distance.dtype)
        waves.append(spherical_bessel(x, degree) * jnp.asarray(scale, distance.dtype))
    return jnp.stack(waves, axis=1)


def zonal_harmonics(
    cosine: Float[Array, " triplets"], degrees: int
) -> Float[Array, "triplets degrees"]:
    r"""Returns the harmonics $Y_l^0 = \sqrt{(2l + 1)/4\pi}\, P_l(\cos\alpha)$.

    Args:
        cosine: $\cos\alpha$ of each triplet.
        degrees: number of l, from 0.
    """
    polynomials = [jnp.ones_like(cosine), cosine]
    for l in range(1, degrees - 1):  # noqa: E741
        polynomials.append(
            ((2 * l + 1) * cosine * polynomials[-1] - l * polynomials[-2]) / (l + 1)
        )
    norms = np.sqrt((2 * np.arange(degrees) + 1) / (4 * np.pi))
    stacked = jnp.stack(polynomials[:degrees], axis=1)
    return stacked * jnp.asarray(norms, cosine.dtype)
