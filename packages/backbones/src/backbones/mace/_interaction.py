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
    """One round: messages from neighbours, their products, a skip connection.

    The first round mixes its messages by the centre's element and has no residual;
    later rounds add an element's linear map of the old features.
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
        # Only scalars are read after the last round.
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

    def __call__(self, features, edges, one_hot, neighbours):
        """Returns the features of the next round, up to its degree.

        Args:
            features: `[nodes, sph, channels]`.
            edges: (harmonics, radial basis, senders, receivers of rows).
            one_hot: element of each node.
            neighbours: average number of neighbours, the messages' scale.
        """
        harmonics, basis, senders, receivers = edges
        degrees = range(len(self.up.maps))
        mixed = self.up([features[:, degree_slice(d)] for d in degrees])
        messages = self.convolution(mixed, harmonics, basis, senders, receivers)
        messages = messages / neighbours
        if self.first:
            messages = self.skip(messages, one_hot)
        product = self.contraction(messages, one_hot)
        mixed = [down(product[:, degree_slice(d)]) for d, down in enumerate(self.down)]
        out = jnp.concatenate(mixed, axis=1)
        if self.first:
            return out
        components = len(self.down) ** 2
        return out + self.skip(features[:, :components], one_hot)
