"""How charges enter the scalars of the network."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._perceptron import Perceptron
from ._radii import ELEMENTS


class ChargeEmbedding(eqx.Module):
    r"""An update of the scalars $h$ from the charges.

    $w_i = \mathrm{MLP}([q_i, e_{z_i}])$, then an update $\mathrm{MLP}([h_i, w_i])$,
    whose last map starts at zero.

    Attributes:
        species: the embedding $e$ by atomic number.
        charge: from charge and element to $w$.
        update: from scalars and $w$ to the update.
    """

    species: Float[Array, "elements width"]
    charge: Perceptron
    update: Perceptron

    def __init__(self, channels: int, *, width: int = 16, key: PRNGKeyArray):
        """Draws the weights.

        Args:
            channels: number of scalars an atom.
            width: of the embedding of the element and of $w$.
            key: seed.
        """
        first, second, third = jr.split(key, 3)
        self.species = jr.normal(first, (ELEMENTS, width))
        self.charge = Perceptron((1 + width, 2 * width, width), key=second)
        update = Perceptron((channels + width, channels, channels), key=third)
        self.update = update.silenced()

    def __call__(
        self,
        features: Float[Array, "atoms channels"],
        charges: Float[Array, " atoms"],
        species: Int[Array, " atoms"],
    ) -> Float[Array, "atoms channels"]:
        """Returns the update.

        Args:
            features: scalars.
            charges: e.
            species: atomic numbers.
        """
        element = self.species[species].astype(features.dtype)
        charge = charges[:, None].astype(features.dtype)
        embedded = self.charge(jnp.concatenate([charge, element], axis=1))
        return self.update(jnp.concatenate([features, embedded], axis=1))
