"""Radial basis functions that vanish at the cutoff, and their envelope."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def envelope(
    distance: Float[Array, " edges"], cutoff: float, exponent: int = 6
) -> Float[Array, " edges"]:
    r"""Returns the polynomial cutoff of Gasteiger et al.

    $$ 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2} $$

    with x = r / cutoff. It is 1 at x = 0; it and its first two derivatives are 0 at the
    cutoff.

    Args:
        distance: Å.
        cutoff: Å.
        exponent: p.

    References:
        arXiv 2003.03123.
    """
    x = distance / cutoff
    p = exponent
    polynomial = (
        1
        - (p + 1) * (p + 2) / 2 * x**p
        + p * (p + 2) * x ** (p + 1)
        - p * (p + 1) / 2 * x ** (p + 2)
    )
    return jnp.where(x < 1, polynomial, 0.0)


def envelope_gain(exponent: int) -> float:
    r"""Returns the factor that gives the envelope u a mean square near one at edges.

    $$ \left(\int_0^1 2 x\, u(x)^2\, dx\right)^{-1/2} $$

    The weight 2x of the distances is that of a number of neighbors which grows as the
    square of the cutoff. Atoms in a ball of uniform density have 3x^2; in molecules and
    frameworks relatively more are near, and u^2 is larger: for p = 6 its mean is 0.23
    in a uniform ball, 0.36 here, and 0.36 in metal-organic frameworks (cutoff 4.5 Å).

    Args:
        exponent: p.
    """
    p = exponent
    powers = np.array([0, p, p + 1, p + 2])
    factors = [1, -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2]
    integrals = 2 / (powers[:, None] + powers + 2)
    return float((np.outer(factors, factors) * integrals).sum() ** -0.5)


def ball_gain(cutoff: float) -> float:
    """Returns the factor that gives Bessel functions a mean square of one in a ball.

    Without their envelope the integral of their squares over the ball is 4 pi.

    Args:
        cutoff: Å.
    """
    return (cutoff**3 / 3) ** 0.5


class Bessel(eqx.Module):
    """Radial Bessel functions times the envelope, with trainable frequencies.

    Args:
        cutoff: Å.
        count: number of functions.
        exponent: p of the envelope.

    References:
        arXiv 2003.03123.
    """

    frequencies: Float[Array, " count"]
    cutoff: float = eqx.field(static=True)
    exponent: int = eqx.field(static=True)

    def __init__(self, cutoff: float, *, count: int = 8, exponent: int = 6):
        self.frequencies = jnp.pi * jnp.arange(1, count + 1, dtype=float)
        self.cutoff = float(cutoff)
        self.exponent = exponent

    def __check_init__(self):
        if not self.cutoff > 0:
            raise ValueError(
                f"`cutoff` is a distance and must be positive, got {self.cutoff}."
            )

    def __call__(self, distance: Float[Array, " edges"]) -> Float[Array, "edges count"]:
        """Returns the basis functions of positive distances, Å."""
        r = distance[:, None]
        sines = jnp.sin(self.frequencies * r / self.cutoff) / r
        damping = envelope(distance, self.cutoff, self.exponent)[:, None]
        return (2 / self.cutoff) ** 0.5 * sines * damping
