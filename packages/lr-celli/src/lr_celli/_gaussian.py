"""The Coulomb interaction of two Gaussian charges at a distance."""

import functools as ft
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev
from scipy.special import erfcx

COULOMB_CONSTANT = 14.399645
r"""$k_e = 1/(4\pi\epsilon_0)$, eV Å/e²."""

# Below it the power series, above it the closed form: both exact to rounding there.
_NEAR = 1.0
# The error function is proportional to its argument long before this.
_TINY = 1e-30
_TERMS = {"float32": 11, "float64": 18}
# Orders from the first to this one share a series, so that a compiler computes it once.
_SHARED = 3
# Where half of the range of arguments beyond one lies below, half above.
_MIDDLE = 4.5


def _scaled_complement(degree: int) -> list[float]:
    """Of (1 + 2x) exp(x²) erfc(x) for x > 1, smooth in t = (x - 1 - c)/(x - 1 + c).

    After M. M. Shepherd and J. G. Laframboise, Math. Comput. 36, 249 (1981),
    doi:10.1090/S0025-5718-1981-0595058-X.
    """
    t = chebyshev.chebpts1(degree + 1)
    x = 1 + _MIDDLE * (1 + t) / (1 - t)
    fit = chebyshev.chebfit(t, (1 + 2 * x) * erfcx(x), degree)
    return chebyshev.cheb2poly(fit).tolist()


# Exact to rounding.
_SCALED_COMPLEMENT = _scaled_complement(18)


def gaussian_interaction(
    variance: Float[Array, "..."],
) -> Callable[[Float[Array, "..."]], Float[Array, "..."]]:
    r"""The interaction of two unit Gaussian charges as a function of $r^2$ (Å²).

    In units of $k_e$, 1/Å:

    $$ \frac{\operatorname{erf}(r/(\sqrt2 \gamma))}{r}
       = \sqrt{\frac{2}{\pi}} \frac{1}{\gamma} F_0\Bigl(\frac{r^2}{2\gamma^2}\Bigr) $$

    smooth to every order at $r = 0$, where it is $\sqrt{2/\pi}/\gamma$.

    Args:
        variance: $\gamma^2 = \sigma_i^2 + \sigma_j^2$, Å².
    """
    rate, peak = _rate_and_peak(variance)
    return lambda squared: peak * boys(0, squared * rate)


def gaussian_derivatives(
    variance: Float[Array, "..."],
) -> Callable[[Float[Array, "..."]], tuple[Float[Array, "..."], ...]]:
    r"""The interaction $f$, $f'/r$ and $(f'' - f'/r)/r^2$ as a function of $r^2$ (Å²).

    The slope along a separation $r$ is the second times $r$, the curvature the second
    times the identity and the third times $r r^T$. In 1/Å, 1/Å³, 1/Å⁵.

    Args:
        variance: $\gamma^2 = \sigma_i^2 + \sigma_j^2$, Å².
    """
    rate, peak = _rate_and_peak(variance)

    def derivatives(squared):
        orders = [boys(n, squared * rate) for n in range(3)]
        return tuple((-2 * rate) ** n * peak * order for n, order in enumerate(orders))

    return derivatives


def _rate_and_peak(variance):
    r"""$1/(2\gamma^2)$ and the value at zero: once a pair, not for each image."""
    rate = 0.5 / variance
    return rate, jnp.sqrt(4 / math.pi * rate)


@ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
def boys(order: int, u: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    r"""The Boys function $F_n(u) = \int_0^1 t^{2n} e^{-u t^2} dt$ for $u \ge 0$.

    Its derivative is $-F_{n+1}$, so every order of differentiation is again a smooth
    function, without the square root that the error function needs at zero.
    """
    if order == 0 and u.dtype == jnp.float32:
        root = jnp.sqrt(jnp.maximum(u, _TINY))
        return math.sqrt(math.pi) / 2 * jax.scipy.special.erf(root) / root
    near = u < _NEAR
    small, large = jnp.where(near, u, 0.0), jnp.where(near, _NEAR, u)
    top = max(order, _SHARED)
    series = jnp.zeros_like(u)
    for k in reversed(range(_TERMS[u.dtype.name])):
        series = series * small + (-1) ** k / (math.factorial(k) * (2 * (top + k) + 1))
    damped = jnp.exp(-u)
    for n in range(top, order, -1):
        series = (2 * small * series + damped) / (2 * n - 1)
    root = jax.lax.rsqrt(large)
    closed = math.sqrt(math.pi) / 2 * _erf(large * root, damped) * root
    for n in range(order):
        closed = ((2 * n + 1) * closed - damped) * (0.5 * root * root)
    return jnp.where(near, series, closed)


def _erf(x: Float[Array, "*pairs"], damped: Float[Array, "*pairs"]):
    """The error function of arguments of at least one, given $e^{-x^2}$.

    In double precision the compiler's own costs several times as much.
    """
    if x.dtype == jnp.float32:
        return jax.scipy.special.erf(x)
    t = (x - (1 + _MIDDLE)) / (x - (1 - _MIDDLE))
    scaled = jnp.zeros_like(x)
    for coefficient in reversed(_SCALED_COMPLEMENT):
        scaled = scaled * t + coefficient
    return 1 - damped * scaled / (1 + 2 * x)


@boys.defjvp
def _boys_jvp(order, primals, tangents):
    return boys(order, *primals), -boys(order + 1, *primals) * tangents[0]
