"""Where the reciprocal sum ends, and how smoothly."""

import functools as ft
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The window falls over the last twentieth before its end: narrow enough to keep few
# vectors, wide enough that its derivatives stay far below the tolerance's scale.
ONSET = 0.95
# Vectors on the sphere of a sharp cut belong to it, whatever the rounding.
ON_SPHERE = 1.0 + 1e-6


@ft.lru_cache(maxsize=64)
def smooth_cutoff(tolerance: float, power: int = 0) -> float:
    r"""The end of the smooth window times sigma, for a relative energy error.

    For charges without order the weight that is missing, relative to the self energy
    $k_e \sum q^2 / (\sigma \sqrt{2\pi})$, is
    $\int (1 - w(x)) x^p e^{-x^2/2} dx / \int x^p e^{-x^2/2} dx$ with $x = \sigma k$;
    half of the tolerance is spent on it. The power $p$ is 0 for Coulomb, two more for
    every degree of the moments.
    """
    low, high = 0.5, 40.0
    beyond = np.linspace(0.0, 12.0, 2401)
    for _ in range(60):
        end = (low + high) / 2
        x = np.concatenate([np.linspace(ONSET * end, end, 401), end + beyond[1:]])
        step = np.clip((x / end - ONSET) / (1 - ONSET), 0.0, 1.0)
        missing = step**3 * (10 - 15 * step + 6 * step**2)
        error = np.trapezoid(missing * x**power * np.exp(-(x**2) / 2), x)
        error /= 2 ** ((power - 1) / 2) * math.gamma((power + 1) / 2)
        low, high = (end, high) if error > tolerance / 2 else (low, end)
    return round(high, 9)


def window(
    squared: Float[Array, "*vectors"], onset: float, end: float
) -> Float[Array, "*vectors"]:
    r"""One inside `onset`, zero from `end` on, twice differentiable in between.

    $1 - x^3 (10 - 15 x + 6 x^2)$ with $x = (k - k_{on})/(k_c - k_{on})$; a step where
    both radii are equal.

    Args:
        squared: $k^2 > 0$, 1/Å².
        onset: where the window begins to fall, 1/Å.
        end: where it reaches zero, 1/Å.
    """
    if onset >= end:
        return (squared <= (end * ON_SPHERE) ** 2).astype(squared.dtype)
    x = jnp.clip((jnp.sqrt(squared) - onset) / (end - onset), 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
