"""Distances as smooth features that vanish at the cutoff."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


def envelope(
    distance: Float[Array, " edges"], cutoff: float, power: int = 6
) -> Float[Array, " edges"]:
    r"""The polynomial cutoff of Gasteiger et al.

    $$ 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2} $$

    with x = r / cutoff: 1 at contact, 0 with two zero derivatives at the cutoff.

    Args:
        distance: Å.
        cutoff: Å.
        power: p.

    References:
        arXiv 2003.03123.
    """
    x = distance / cutoff
    p = power
    polynomial = (
        1
        - (p + 1) * (p + 2) / 2 * x**p
        + p * (p + 2) * x ** (p + 1)
        - p * (p + 1) / 2 * x ** (p + 2)
    )
    return jnp.where(x < 1, polynomial, 0.0)


class Bessel(eqx.Module):
    """Spherical Bessel functions times the envelope, with trainable frequencies.

    Args:
        cutoff: Å.
        count: number of functions.
        power: of the envelope.

    References:
        arXiv 2003.03123.
    """

    frequencies: Float[Array, " count"]
    cutoff: float = eqx.field(static=True)
    power: int = eqx.field(static=True)

    def __init__(self, cutoff: float, *, count: int = 8, power: int = 6):
        self.frequencies = jnp.pi * jnp.arange(1, count + 1, dtype=float)
        self.cutoff = float(cutoff)
        self.power = power

    def __check_init__(self):
        if not self.cutoff > 0:
            raise ValueError(
                f"`cutoff` is a distance and must be positive, got {self.cutoff}."
            )

    def __call__(self, distance: Float[Array, " edges"]) -> Float[Array, "edges count"]:
        """Returns the features of positive distances (Å)."""
        r = distance[:, None]
        waves = jnp.sin(self.frequencies * r / self.cutoff) / r
        weight = envelope(distance, self.cutoff, self.power)[:, None]
        return (2 / self.cutoff) ** 0.5 * waves * weight
