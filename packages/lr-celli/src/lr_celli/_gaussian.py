"""The Coulomb interaction of two Gaussian charges and its derivatives."""

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

# Power series below this argument, closed form above it; both are exact to rounding.
_SERIES_LIMIT = 1.0
# Avoids 0/0. The error function is proportional to its argument at this size.
_TINY = 1e-30
_TERMS = {"float32": 11, "float64": 18}
# Orders up to this one use the same series, so that the compiler computes it once.
_SHARED_ORDER = 3
# Argument, minus one, that is mapped to the middle of the interval of the fit.
_MIDDLE = 4.5


def _scaled_complement(degree: int) -> list[float]:
    """Coefficients of (1 + 2x) exp(x²) erfc(x), x > 1, in t = (x - 1 - c)/(x - 1 + c).

    Follows M. M. Shepherd and J. G. Laframboise, Math. Comput. 36, 249 (1981),
    doi:10.1090/S0025-5718-1981-0595058-X.
    """
    t = chebyshev.chebpts1(degree + 1)
    x = 1 + _MIDDLE * (1 + t) / (1 - t)
    fit = chebyshev.chebfit(t, (1 + 2 * x) * erfcx(x), degree)
    return chebyshev.cheb2poly(fit).tolist()


# This degree is exact to rounding.
_SCALED_COMPLEMENT = _scaled_complement(18)


def gaussian_interaction(
    variance: Float[Array, "..."],
) -> Callable[[Float[Array, "..."]], Float[Array, "..."]]:
    r"""The interaction of two unit Gaussian charges as a function of $r^2$ (Å²).

    In units of $k_e$, 1/Å:

    $$ \frac{\operatorname{erf}(r/(\sqrt2 \gamma))}{r}
       = \sqrt{\frac{2}{\pi}} \frac{1}{\gamma} F_0\Bigl(\frac{r^2}{2\gamma^2}\Bigr) $$

    It is smooth to every order at $r = 0$, where its value is $\sqrt{2/\pi}/\gamma$.

    Args:
        variance: $\gamma^2 = \sigma_i^2 + \sigma_j^2$, Å².
    """
    rate, peak = _rate_and_peak(variance)
    return lambda squared: peak * boys(0, squared * rate)


def gaussian_derivatives(
    variance: Float[Array, "..."],
) -> Callable[[Float[Array, "..."]], tuple[Float[Array, "..."], ...]]:
    r"""The interaction $f$, $f'/r$ and $(f'' - f'/r)/r^2$ as a function of $r^2$ (Å²).

    With a separation vector $r$, the gradient is the second value times $r$, and the
    Hessian is the second times the identity plus the third times $r r^T$. Units are
    1/Å, 1/Å³, 1/Å⁵.

    Args:
        variance: $\gamma^2 = \sigma_i^2 + \sigma_j^2$, Å².
    """
    rate, peak = _rate_and_peak(variance)

    def derivatives(squared):
        orders = [boys(n, squared * rate) for n in range(3)]
        return tuple((-2 * rate) ** n * peak * order for n, order in enumerate(orders))

    return derivatives


def _rate_and_peak(variance):
    r"""$1/(2\gamma^2)$ and the value at zero, which all images of a pair share."""
    rate = 0.5 / variance
    return rate, jnp.sqrt(4 / math.pi * rate)


@ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
def boys(order: int, u: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    r"""The Boys function $F_n(u) = \int_0^1 t^{2n} e^{-u t^2} dt$ for $u \ge 0$.

    Its derivative is $-F_{n+1}$, so that derivatives of every order are smooth at zero,
    without the square root in the argument of the error function.
    """
    if order == 0 and u.dtype == jnp.float32:
        root = jnp.sqrt(jnp.maximum(u, _TINY))
        return math.sqrt(math.pi) / 2 * jax.scipy.special.erf(root) / root
    near = u < _SERIES_LIMIT
    small, large = jnp.where(near, u, 0.0), jnp.where(near, _SERIES_LIMIT, u)
    highest = max(order, _SHARED_ORDER)
    series = jnp.zeros_like(u)
    for k in reversed(range(_TERMS[u.dtype.name])):
        series = series * small + (-1) ** k / (
            math.factorial(k) * (2 * (highest + k) + 1)
        )
    damped = jnp.exp(-u)
    for n in range(highest, order, -1):
        series = (2 * small * series + damped) / (2 * n - 1)
    root = jax.lax.rsqrt(large)
    closed = math.sqrt(math.pi) / 2 * _erf(large * root, damped) * root
    for n in range(order):
        closed = ((2 * n + 1) * closed - damped) * (0.5 * root * root)
    return jnp.where(near, series, closed)


def _erf(x: Float[Array, "*pairs"], damped: Float[Array, "*pairs"]):
    """The error function for arguments of at least one, given $e^{-x^2}$.

    In double precision XLA's own error function takes several times as long.
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
