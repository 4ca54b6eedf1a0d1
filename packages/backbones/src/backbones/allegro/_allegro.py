"""Allegro: strictly local many-body features of edges."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from e3nn_jax import IrrepsArray, spherical_harmonics
from jaxtyping import Array, Float, PRNGKeyArray

from .._abstract_backbone import AbstractBackbone
from .._backbone import checked_avg_num_neighbors, element_index, element_table
from .._batch import Batch
from .._edge_hooks import EdgeAdapters, sum_over_neighbors
from .._hooks import Hooks, NodeOutput
from .._irreps import degree_of, degree_slice
from .._long_range import LongRange
from .._networks import Linear, Perceptron
from .._radial import Bessel, ball_gain, envelope, envelope_gain
from ._size import AllegroSize
from ._tensor_layer import EdgeGeometry, TensorLayer


class Allegro(AbstractBackbone):
    r"""Allegro of 2023, with hooks for long-range layers of degree 0.

    Scalar latents $x_{ij}$ and equivariant features $V_{ij}$ of each edge are updated
    by tensor products, $x \leftarrow (x + a y)/(1 + a)$ with a learned $a$, and
    $E_i = N^{-1/2} \sum_j W x_{ij}$. All edge features vanish at the cutoff. The radial
    basis and the envelope are divided by their typical values, so that distances weigh
    as much as elements and no layer shrinks the features: initial features, environment
    sums and forces (in units of the potential's scale) have a variance near one.

    Hooks: `"embedding"` has the species embedding, and its update enters only the first
    equivariant features, through a network of both species; `"block 1"` ... are before
    each later tensor layer; `"final"` has the concatenated latents of all layers. The
    last two kinds act on edges, through an `EdgeAdapter`. `size.widths` has the
    channels at each hook.

    Args:
        elements: atomic numbers that the model supports, in any order.
        size: hyperparameters; None takes the published ones.
        cutoff: of the edges, Å.
        avg_num_neighbors: mean number of neighbors per atom in the training data.
        long_range: layers by hook; None for no layers.
        charges: hook whose charges the model predicts; needed only if there are two or
            more layers.
        key: seed of all weights.

    References:
        Musaelian et al., Nat. Commun. 14, 579 (2023), arXiv 2204.05249.
    """

    embedding: Float[Array, "elements embedding"]
    radial: Bessel
    two_body: Perceptron
    first_weights: Linear
    species_weights: Perceptron | None
    layers: tuple[TensorLayer, ...]
    mixing: Float[Array, " layers"]
    readout: Linear
    hooks: Hooks
    edge_adapters: EdgeAdapters
    edge_mixing: dict[str, Float[Array, "1"]]
    avg_num_neighbors: Float[Array, ""]
    size: AllegroSize = eqx.field(static=True)
    elements: tuple[int, ...] = eqx.field(static=True)
    Size: ClassVar[type] = AllegroSize
    needs_triplets: ClassVar[bool] = False

    def __init__(
        self,
        elements: tuple[int, ...],
        size: AllegroSize | None = None,
        *,
        cutoff: float = 4.5,
        avg_num_neighbors: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: PRNGKeyArray,
    ):
        size = AllegroSize() if size is None else size
        keys = jr.split(key, 5 + size.num_layers)
        self.size = size
        self.elements = element_table(elements)
        self.avg_num_neighbors = checked_avg_num_neighbors(avg_num_neighbors)
        self.embedding = jr.normal(keys[0], (len(self.elements), size.embedding))
        self.radial = Bessel(
            cutoff, count=size.num_bessel, exponent=size.envelope_exponent
        )
        width = 2 * size.embedding + size.num_bessel
        self.two_body = Perceptron(
            (width, *size.two_body, size.hidden), activation="mish", key=keys[1]
        )
        self.hooks = Hooks(
            long_range or {},
            offered=dict.fromkeys(size.widths, 0),
            elements=self.elements,
            charges=charges,
        )
        weights = len(size.harmonics) * size.channels
        self.first_weights = Linear(size.hidden, weights, key=keys[2])
        self.species_weights = None
        if self.hooks.has_layer("embedding"):
            width = size.hidden + 2 * size.embedding
            self.species_weights = Perceptron(
                (width, size.adapter, weights),
                activation="mish",
                key=jr.fold_in(keys[2], 1),
            )
        self.layers = tuple(
            TensorLayer(size, i, key=keys[5 + i]) for i in range(size.num_layers)
        )
        self.readout = Linear(size.hidden, 1, key=keys[3])
        inputs = {h: size.hidden for h in size.widths if h != "embedding"}
        inputs["final"] = size.hidden * size.num_layers
        self.edge_adapters = EdgeAdapters(
            self.hooks, inputs, size.hidden, size.widths, activation="mish", key=keys[4]
        )
        self.mixing = jnp.full(size.num_layers, 0.5)
        self.edge_mixing = {
            h: jnp.full(1, 0.5) for h in size.widths if self.hooks.has_layer(h)
        }

    @property
    def cutoff(self) -> float:
        """Cutoff of the edges, Å."""
        return self.radial.cutoff

    def __call__(self, batch: Batch) -> NodeOutput:
        """Returns energies and charges of the atoms.

        Args:
            batch: the structures.
        """
        vectors = batch.edge_vectors(padding_length=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        geometry = EdgeGeometry(
            spherical_harmonics(
                list(range(self.size.l_max + 1)),
                IrrepsArray("1o", vectors),
                normalize=True,
                normalization="component",
            ).array,
            envelope_gain(self.size.envelope_exponent)
            * envelope(distance, self.cutoff, self.size.envelope_exponent),
            jax.lax.stop_gradient(self.avg_num_neighbors),
        )
        index = element_index(batch.species, self.elements)
        one_hot = jax.nn.one_hot(index, len(self.elements), dtype=vectors.dtype)
        species = one_hot @ self.embedding
        outputs_by_hook = {}
        basis = ball_gain(self.cutoff) * self.radial(distance)
        latents = self._two_body(species, basis, geometry, batch)
        updated, outputs_by_hook["embedding"] = self.hooks(
            "embedding", species[:, None], batch
        )
        features = self._first_features(latents, updated[:, 0], geometry, batch)
        latents_per_layer = []
        for i, layer in enumerate(self.layers):
            if i > 0:
                hook = f"block {i}"
                latents, outputs_by_hook[hook] = self._call_hook(
                    hook, latents, latents, geometry, batch
                )
            update, features = layer(latents, features, geometry, batch)
            latents = _residual(latents, update, self.mixing[i])
            latents_per_layer.append(latents)
        joined = jnp.concatenate(latents_per_layer, axis=-1)
        latents, outputs_by_hook["final"] = self._call_hook(
            "final", joined, latents, geometry, batch
        )
        short_range = sum_over_neighbors(self.readout(latents), batch)
        short_range = short_range * geometry.avg_num_neighbors**-0.5
        return self.hooks.output(short_range, outputs_by_hook, batch)

    def hook_parts(self, hook: str) -> tuple[Any, ...]:
        """Returns the adapter or network, and the weight of its update.

        Args:
            hook: with a layer.
        """
        parts = [self.edge_adapters.adapters.get(hook), self.edge_mixing.get(hook)]
        if hook == "embedding":
            parts.append(self.species_weights)
        return tuple(part for part in parts if part is not None)

    def _two_body(self, species, basis, geometry, batch):
        """Returns the first latents, functions of two elements and their distance."""
        ends = [species[batch.receivers], species[batch.senders]]
        latents = self.two_body(jnp.concatenate([*ends, basis], axis=-1))
        return geometry.envelope[:, None] * latents

    def _first_features(self, latents, species, geometry, batch):
        """Returns the first equivariant features by irrep: weighted harmonics."""
        weights = self.first_weights(latents)
        if self.species_weights is not None:
            ends = [species[batch.receivers], species[batch.senders]]
            update = self.species_weights(jnp.concatenate([latents, *ends], axis=-1))
            update = geometry.envelope[:, None] * update
            weights = _residual(weights, update, self.edge_mixing["embedding"])
        parts = jnp.split(weights, len(self.size.harmonics), axis=-1)
        degrees = map(degree_of, self.size.harmonics)
        return {
            name: geometry.harmonics[:, degree_slice(d), None] * part[:, None]
            for name, d, part in zip(self.size.harmonics, degrees, parts, strict=True)
        }

    def _call_hook(self, hook, edge_features, latents, geometry, batch):
        """Returns the latents with a layer's update added, and its other output."""
        update, output = self.edge_adapters(
            self.hooks,
            hook,
            edge_features,
            latents,
            (geometry.envelope, geometry.avg_num_neighbors),
            batch,
        )
        if update is None:
            return latents, output
        return _residual(latents, update, self.edge_mixing[hook]), output


def _residual(latents, update, weight):
    """Returns the residual update (x + a y) / (1 + a)."""
    return (latents + weight * update) / (1 + weight)
