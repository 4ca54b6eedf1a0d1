"""Radial basis functions that vanish at the cutoff, and their envelope."""

import equinox as eqx
import jax.numpy as jnp
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
