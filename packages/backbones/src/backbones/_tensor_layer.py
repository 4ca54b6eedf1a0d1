"""Allegro's layer: products of edge features with what surrounds their centre."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._allegro_size import AllegroSize
from ._batch import Batch
from ._convolution import block
from ._edges import sum_to_centre
from ._maps import Linear, Perceptron
from ._products import Path, channelwise_product, couplings, degree_of


class Surroundings(NamedTuple):
    """What every layer reads of the edges."""

    harmonics: Float[Array, "edges sph"]
    weight: Float[Array, " edges"]
    """The envelope."""
    neighbours: Float[Array, ""]
    """Average number of neighbours."""


class TensorLayer(eqx.Module):
    r"""One layer: a product with the centre's surroundings, then new latents.

    $$ V'_{ij} = V_{ij} \otimes N^{-1/2} \sum_{k} w_{ik} Y(r_{ik}), \qquad
       y_{ij} = u(r_{ij})\, M([x_{ij}, V'^{\,0e}_{ij}]) $$

    channel by channel, with $w = W x$; the other products are mixed linearly to the
    next features.
    """

    weights: Linear
    latent: Perceptron
    mix: dict[str, Linear]
    incoming: tuple[str, ...] = eqx.field(static=True)
    paths: tuple[Path, ...] = eqx.field(static=True)
    scalars: tuple[Path, ...] = eqx.field(static=True)

    def __init__(self, size: AllegroSize, index: int, *, key: PRNGKeyArray):
        keys = jr.split(key, 3)
        last = index == size.layers - 1
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
        around: Surroundings,
        batch: Batch,
    ) -> tuple[
        Float[Array, "edges hidden"], dict[str, Float[Array, "edges _ channels"]]
    ]:
        """Returns what to merge into the latents, and the next features by irrep."""
        surroundings = self.surroundings(latents, around, batch)[batch.receivers]
        part = lambda name: surroundings[:, block(degree_of(name))]
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
        return around.weight[:, None] * update, mixed

    def surroundings(
        self, latents: Float[Array, "edges hidden"], around: Surroundings, batch: Batch
    ) -> Float[Array, "nodes sph channels"]:
        """Weighted harmonics summed over the neighbours of every atom."""
        degrees = round(around.harmonics.shape[1] ** 0.5)
        weights = self.weights(latents).reshape(len(latents), degrees, -1)
        weighted = jnp.concatenate(
            [
                around.harmonics[:, block(d), None] * weights[:, d, None]
                for d in range(degrees)
            ],
            axis=1,
        )
        return sum_to_centre(weighted, batch) * around.neighbours**-0.5
