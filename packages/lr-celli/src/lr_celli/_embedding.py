"""Embedding of the charges into the scalars of the network."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._perceptron import Perceptron
from ._radii import NUM_ELEMENTS


class ChargeEmbedding(eqx.Module):
    r"""Update of the scalars $h$ from the charges.

    The update is $\mathrm{MLP}([h_i, w_i])$ with
    $w_i = \mathrm{MLP}([q_i, e_{z_i}])$; its last linear map is initialized to zero.

    Attributes:
        element_embedding: $e$ by atomic number.
        charge_network: maps charge and element embedding to $w$.
        update_network: maps scalars and $w$ to the update.
    """

    element_embedding: Float[Array, "elements embedded"]
    charge_network: Perceptron
    update_network: Perceptron

    def __init__(
        self, channels: int, *, embedding_channels: int = 16, key: PRNGKeyArray
    ):
        """Draws the weights.

        Args:
            channels: number of scalars per atom.
            embedding_channels: number of channels of the element embedding and of $w$.
            key: seed of the weights.
        """
        first, second, third = jr.split(key, 3)
        size = embedding_channels
        self.element_embedding = jr.normal(first, (NUM_ELEMENTS, size))
        self.charge_network = Perceptron((1 + size, 2 * size, size), key=second)
        update_network = Perceptron((channels + size, channels, channels), key=third)
        self.update_network = update_network.with_zero_output()

    def arguments(self) -> dict[str, int]:
        """The arguments of the constructor but `key`, as values for JSON."""
        return {
            "channels": self.update_network.sizes[-1],
            "embedding_channels": self.element_embedding.shape[1],
        }

    def __call__(
        self,
        features: Float[Array, "atoms channels"],
        charges: Float[Array, " atoms"],
        species: Int[Array, " atoms"],
    ) -> Float[Array, "atoms channels"]:
        """Computes the update of the scalars.

        Args:
            features: scalars, `[atoms, channels]`.
            charges: `[atoms]`, e.
            species: atomic numbers, `[atoms]`.
        """
        element = self.element_embedding[species].astype(features.dtype)
        charge = charges[:, None].astype(features.dtype)
        embedded = self.charge_network(jnp.concatenate([charge, element], axis=1))
        return self.update_network(jnp.concatenate([features, embedded], axis=1))
