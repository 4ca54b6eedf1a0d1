"""The interactions of MACE."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from .._irreps import degree_slice
from .._networks import DegreewiseLinear, ElementLinear, Linear
from ._contraction import SymmetricContraction
from ._convolution import Convolution
from ._size import MACESize


class Interaction(eqx.Module):
    """An interaction of MACE: messages, their products and a skip connection.

    The first interaction applies the element-dependent map to its messages and has no
    skip connection; later ones add the element-dependent map of their input features.

    Args:
        size: hyperparameters of the model.
        index: number of the interaction, from 0.
        elements: number of elements.
        key: seed of the weights.
    """

    up: DegreewiseLinear
    convolution: Convolution
    skip: ElementLinear
    contraction: SymmetricContraction
    down: tuple[Linear, ...]
    first: bool = eqx.field(static=True)

    def __init__(self, size: MACESize, index: int, elements: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 5)
        width, first = size.channels, index == 0
        incoming = 0 if first else size.hidden_degree
        # Readouts and hooks after the last interaction use only scalars.
        outgoing = 0 if index == size.num_interactions - 1 else size.hidden_degree
        degrees = size.l_max + 1 if first else outgoing + 1
        self.up = DegreewiseLinear((width,) * (incoming + 1), width, key=keys[0])
        self.convolution = Convolution(
            incoming,
            size.l_max,
            width,
            (size.num_bessel, *size.radial_mlp),
            key=keys[1],
        )
        self.skip = ElementLinear(elements, degrees, width, key=keys[2])
        self.contraction = SymmetricContraction(
            size.l_max,
            outgoing,
            size.correlation,
            elements=elements,
            channels=width,
            key=keys[3],
        )
        self.down = tuple(
            Linear(width, width, key=k) for k in jr.split(keys[4], outgoing + 1)
        )
        self.first = first

    def __call__(self, features, edges, one_hot, avg_num_neighbors):
        """Returns the features for the next interaction.

        Args:
            features: `[nodes, sph, channels]`.
            edges: harmonics, radial basis, senders, and receivers of rows.
            one_hot: element of each node.
            avg_num_neighbors: divides the sums of messages.
        """
        harmonics, basis, senders, receivers = edges
        degrees = range(len(self.up.maps))
        mixed = self.up([features[:, degree_slice(d)] for d in degrees])
        messages = self.convolution(mixed, harmonics, basis, senders, receivers)
        messages = messages / avg_num_neighbors
        if self.first:
            messages = self.skip(messages, one_hot)
        product = self.contraction(messages, one_hot)
        mixed = [down(product[:, degree_slice(d)]) for d, down in enumerate(self.down)]
        out = jnp.concatenate(mixed, axis=1)
        if self.first:
            return out
        components = len(self.down) ** 2
        return out + self.skip(features[:, :components], one_hot)
