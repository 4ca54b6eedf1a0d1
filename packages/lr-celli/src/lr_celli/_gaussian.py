"""The Coulomb interaction of two Gaussian charges at a distance."""

import functools as ft
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COULOMB_CONSTANT = 14.399645
r"""$k_e = 1/(4\pi\epsilon_0)$, eV Å/e²."""

# Below it the power series, above it the closed form: both exact to rounding there.
_NEAR = 1.0
# The error function is proportional to its argument long before this.
_TINY = 1e-30
_TERMS = {"float32": 11, "float64": 18}
# Orders from the first to this one share a series, so that a compiler computes it once.
_SHARED = 3


def gaussian_interaction(
    squared: Float[Array, "*pairs"], variance: Float[Array, "*#pairs"]
) -> Float[Array, "*pairs"]:
    r"""The interaction of two unit Gaussian charges in units of $k_e$, 1/Å.

    $$ \frac{\operatorname{erf}(r/(\sqrt2 \gamma))}{r}
       = \sqrt{\frac{2}{\pi}} \frac{1}{\gamma} F_0\Bigl(\frac{r^2}{2\gamma^2}\Bigr) $$

    smooth to every order at $r = 0$, where it is $\sqrt{2/\pi}/\gamma$.

    Args:
        squared: $r^2$, Å².
        variance: $\gamma^2 = \sigma_i^2 + \sigma_j^2$, Å².
    """
    scale = math.sqrt(2 / math.pi) * jax.lax.rsqrt(variance)
    return scale * boys(0, squared / (2 * variance))


@ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
def boys(order: int, u: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    r"""The Boys function $F_n(u) = \int_0^1 t^{2n} e^{-u t^2} dt$ for $u \ge 0$.

    Its derivative is $-F_{n+1}$, so every order of differentiation is again a smooth
    function, without the square root that the error function needs at zero.
    """
    if order == 0:
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
    closed = math.sqrt(math.pi) / 2 * jax.scipy.special.erf(large * root) * root
    for n in range(order):
        closed = ((2 * n + 1) * closed - damped) * (0.5 * root * root)
    return jnp.where(near, series, closed)


@boys.defjvp
def _boys_jvp(order, primals, tangents):
    return boys(order, *primals), -boys(order + 1, *primals) * tangents[0]
