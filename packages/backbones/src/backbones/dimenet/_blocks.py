"""The blocks of DimeNet++."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._batch import Batch
from .._edge_hooks import sum_over_neighbors
from .._networks import Dense, Linear, Residual
from .._triplets import Triplets
from ._size import DimeNetSize

# Initial standard deviation of weights after which silu of unit variance has mean
# square one. Layers that are added to others keep unit weights, or the sums would grow.
_GAIN = 1.55


class FirstMessages(eqx.Module):
    """The embedding block: messages of two elements and their distance.

    Args:
        size: hyperparameters of the model.
        key: seed of the weights.
    """

    basis: Dense
    message: Dense

    def __init__(self, size: DimeNetSize, *, key: PRNGKeyArray):
        first, second = jr.split(key)
        self.basis = Dense(size.num_radial, size.channels, gain=_GAIN, key=first)
        self.message = Dense(3 * size.channels, size.channels, gain=_GAIN, key=second)

    def __call__(
        self,
        species: Float[Array, "nodes channels"],
        basis: Float[Array, "edges radial"],
        batch: Batch,
    ) -> Float[Array, "edges channels"]:
        """Returns a message for each edge.

        Args:
            species: embedding of the elements of the nodes.
            basis: radial basis of the edges.
            batch: the structures.
        """
        ends = [species[batch.receivers], species[batch.senders]]
        return self.message(jnp.concatenate([*ends, self.basis(basis)], axis=-1))


class Interaction(eqx.Module):
    r"""The interaction block: each message is updated by those of adjacent edges.

    $$ \tilde m_{ji} = W_{up} N^{-1/2} \sum_k W_{down}(f(m_{kj}) \odot R(d_{kj})) \odot
       S(d_{kj}, \alpha_{kji}) $$

    then residual layers around a skip connection. R and S are linear maps of the bases,
    and N is the average number of neighbors.

    Args:
        size: hyperparameters of the model.
        key: seed of the weights.
    """

    dense_ji: Dense
    dense_kj: Dense
    down: Dense
    up: Dense
    distances: tuple[Linear, Linear]
    angles: tuple[Linear, Linear]
    before: tuple[Residual, ...]
    skip: Dense
    after: tuple[Residual, ...]

    def __init__(self, size: DimeNetSize, *, key: PRNGKeyArray):
        keys = iter(jr.split(key, 9 + size.num_before_skip + size.num_after_skip))
        width = size.channels
        self.dense_ji = Dense(width, width, key=next(keys))
        self.dense_kj = Dense(width, width, gain=_GAIN, key=next(keys))
        self.down = Dense(
            width, size.int_emb_size, bias=False, gain=_GAIN, key=next(keys)
        )
        self.up = Dense(size.int_emb_size, width, bias=False, key=next(keys))
        waves = size.num_radial * size.num_spherical
        self.distances = (
            Linear(size.num_radial, size.basis_emb_size, key=next(keys)),
            Linear(size.basis_emb_size, width, key=next(keys)),
        )
        self.angles = (
            Linear(waves, size.basis_emb_size, key=next(keys)),
            Linear(size.basis_emb_size, size.int_emb_size, key=next(keys)),
        )
        self.before = tuple(
            Residual(width, key=next(keys)) for _ in range(size.num_before_skip)
        )
        self.skip = Dense(width, width, key=next(keys))
        self.after = tuple(
            Residual(width, key=next(keys)) for _ in range(size.num_after_skip)
        )

    def __call__(
        self,
        messages: Float[Array, "edges channels"],
        basis: Float[Array, "edges radial"],
        waves: Float[Array, "triplets waves"],
        triplets: Triplets,
        avg_num_neighbors: Float[Array, ""],
    ) -> Float[Array, "edges channels"]:
        """Returns the next messages.

        Args:
            messages: of the edges.
            basis: radial basis of the edges.
            waves: basis of distance and angle of the triplets, zero on padding.
            triplets: indices of their edges.
            avg_num_neighbors: N.
        """
        first, second = self.distances
        projected = self.down(self.dense_kj(messages) * second(first(basis)))
        first, second = self.angles
        messages_kj = projected[triplets.incoming] * second(first(waves))
        summed = jax.ops.segment_sum(
            messages_kj,
            triplets.outgoing,
            num_segments=len(messages),
            indices_are_sorted=True,
        )
        x = self.dense_ji(messages) + self.up(summed * avg_num_neighbors**-0.5)
        for layer in self.before:
            x = layer(x)
        x = self.skip(x) + messages
        for layer in self.after:
            x = layer(x)
        return x


class AtomReadout(eqx.Module):
    """The output block: energies of the atoms from the messages of their edges.

    Args:
        size: hyperparameters of the model.
        key: seed of the weights.
    """

    distances: Linear
    up: Linear
    hidden: tuple[Dense, ...]
    last: Linear

    def __init__(self, size: DimeNetSize, *, key: PRNGKeyArray):
        keys = jr.split(key, 3 + size.num_output_layers)
        self.distances = Linear(size.num_radial, size.channels, key=keys[0])
        self.up = Linear(size.channels, size.out_emb_channels, key=keys[1])
        self.hidden = tuple(
            Dense(size.out_emb_channels, size.out_emb_channels, gain=_GAIN, key=k)
            for k in keys[3:]
        )
        # The gradient of the angular basis is large: with unit weights initial forces
        # would be ten times the potential's scale.
        self.last = Linear(size.out_emb_channels, 1, gain=0.1, key=keys[2])

    def __call__(
        self,
        messages: Float[Array, "edges channels"],
        basis: Float[Array, "edges radial"],
        avg_num_neighbors: Float[Array, ""],
        batch: Batch,
    ) -> Float[Array, "nodes 1"]:
        """Returns an energy for each atom.

        Args:
            messages: of the edges.
            basis: radial basis of the edges.
            avg_num_neighbors: the sum over edges is divided by its square root.
            batch: the structures.
        """
        summed = sum_over_neighbors(self.distances(basis) * messages, batch)
        x = self.up(summed * avg_num_neighbors**-0.5)
        for layer in self.hidden:
            x = layer(x)
        return self.last(x)
