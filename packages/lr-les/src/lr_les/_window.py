"""The smooth cutoff of the reciprocal sum."""

import functools as ft
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The window decreases over the last twentieth before the cutoff: narrow enough to need
# few vectors, wide enough that its derivatives are far below the scale of the
# tolerance.
ONSET = 0.95
# Vectors exactly at a sharp cutoff are included, independent of rounding errors.
ON_SPHERE = 1.0 + 1e-6


@ft.lru_cache(maxsize=64)
def smooth_cutoff(tolerance: float, power: int = 0) -> float:
    r"""Returns $k_c \sigma$ of the smooth window for a relative error of the energy.

    For charges without order the error, relative to the self energy
    $k_e \sum q^2 / (\sigma \sqrt{2\pi})$, is
    $\int (1 - w(x)) x^p e^{-x^2/2} dx / \int x^p e^{-x^2/2} dx$ with $x = \sigma k$.
    The cutoff makes it half of the tolerance. The power $p$ is 0 for Coulomb charges
    and two more for every degree of the multipoles.
    """
    low, high = 0.5, 40.0
    beyond = np.linspace(0.0, 12.0, 2401)
    for _ in range(60):
        cutoff = (low + high) / 2
        falling = np.linspace(ONSET * cutoff, cutoff, 401)
        x = np.concatenate([falling, cutoff + beyond[1:]])
        step = np.clip((x / cutoff - ONSET) / (1 - ONSET), 0.0, 1.0)
        missing = step**3 * (10 - 15 * step + 6 * step**2)
        error = np.trapezoid(missing * x**power * np.exp(-(x**2) / 2), x)
        error /= 2 ** ((power - 1) / 2) * math.gamma((power + 1) / 2)
        low, high = (cutoff, high) if error > tolerance / 2 else (low, cutoff)
    return round(high, 9)


def window(
    k_squared: Float[Array, "*vectors"], onset: float, cutoff: float
) -> Float[Array, "*vectors"]:
    r"""Window function: one up to `onset`, zero from `cutoff`, twice differentiable.

    $1 - x^3 (10 - 15 x + 6 x^2)$ with $x = (k - k_{on})/(k_c - k_{on})$; a step
    function if both are equal.

    Args:
        k_squared: $k^2 > 0$, 1/Å².
        onset: length at which the window begins to decrease, 1/Å.
        cutoff: length at which it reaches zero, 1/Å.
    """
    if onset >= cutoff:
        return (k_squared <= (cutoff * ON_SPHERE) ** 2).astype(k_squared.dtype)
    x = jnp.clip((jnp.sqrt(k_squared) - onset) / (cutoff - onset), 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
