"""The tensor-product layer of Allegro."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._batch import Batch
from .._edge_hooks import sum_over_neighbors
from .._irreps import degree_of, degree_slice
from .._networks import Linear, Perceptron
from ._products import Path, channelwise_product, couplings
from ._size import AllegroSize


class EdgeGeometry(NamedTuple):
    """Functions of the edge vectors, and the average number of neighbors.

    The envelope is normalized, see `envelope_gain`.
    """

    harmonics: Float[Array, "edges sph"]
    envelope: Float[Array, " edges"]
    avg_num_neighbors: Float[Array, ""]


class TensorLayer(eqx.Module):
    r"""A tensor product with the environment of the receiver, then new latents.

    $$ V'_{ij} = V_{ij} \otimes N^{-1/2} \sum_{k} w_{ik} Y(r_{ik}), \qquad
       y_{ij} = u(r_{ij})\, M([x_{ij}, V'^{\,0e}_{ij}]) $$

    channel by channel, with $w = W x$; the next features are linear combinations of the
    products.

    Args:
        size: hyperparameters of the model.
        index: number of the layer, from 0.
        key: seed of the weights.
    """

    weights: Linear
    latent: Perceptron
    mix: dict[str, Linear]
    incoming: tuple[str, ...] = eqx.field(static=True)
    paths: tuple[Path, ...] = eqx.field(static=True)
    scalars: tuple[Path, ...] = eqx.field(static=True)

    def __init__(self, size: AllegroSize, index: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        last = index == size.num_layers - 1
        outgoing = () if last else size.irreps(index + 1)
        self.incoming = size.irreps(index)
        self.paths = couplings(self.incoming, size.l_max, outgoing)
        self.scalars = couplings(self.incoming, size.l_max, ("0e",))
        self.weights = Linear(
            size.hidden, (size.l_max + 1) * size.channels, key=keys[0]
        )
        inputs = size.hidden + len(self.scalars) * size.channels
        self.latent = Perceptron(
            (inputs, *[size.hidden] * (size.depth + 1)), activation="mish", key=keys[1]
        )
        self.mix = {
            c: Linear(
                sum(p.product == c for p in self.paths) * size.channels,
                size.channels,
                key=k,
            )
            for c, k in zip(outgoing, jr.split(keys[2], len(outgoing)), strict=True)
        }

    def __call__(
        self,
        latents: Float[Array, "edges hidden"],
        features: dict[str, Float[Array, "edges _ channels"]],
        geometry: EdgeGeometry,
        batch: Batch,
    ) -> tuple[
        Float[Array, "edges hidden"], dict[str, Float[Array, "edges _ channels"]]
    ]:
        """Returns the update of the latents, and the next features by irrep."""
        environment = self.environment(latents, geometry, batch)[batch.receivers]
        part = lambda name: environment[:, degree_slice(degree_of(name))]
        product = lambda path: channelwise_product(
            features[path.feature], part(path.harmonic), path
        )
        scalars = [product(path)[:, 0] for path in self.scalars]
        update = self.latent(jnp.concatenate([latents, *scalars], axis=-1))
        mixed = {
            c: linear(
                jnp.concatenate(
                    [product(p) for p in self.paths if p.product == c], axis=-1
                )
            )
            for c, linear in self.mix.items()
        }
        return geometry.envelope[:, None] * update, mixed

    def environment(
        self,
        latents: Float[Array, "edges hidden"],
        geometry: EdgeGeometry,
        batch: Batch,
    ) -> Float[Array, "nodes sph channels"]:
        """Returns the weighted harmonics summed over the neighbors of each atom."""
        degrees = round(geometry.harmonics.shape[1] ** 0.5)
        weights = self.weights(latents).reshape(len(latents), degrees, -1)
        weighted = jnp.concatenate(
            [
                geometry.harmonics[:, degree_slice(d), None] * weights[:, d, None]
                for d in range(degrees)
            ],
            axis=1,
        )
        return sum_over_neighbors(weighted, batch) * geometry.avg_num_neighbors**-0.5
