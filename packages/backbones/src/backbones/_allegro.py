"""Allegro: strictly local many-body features that live on edges."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from e3nn_jax import IrrepsArray, spherical_harmonics
from jaxtyping import Array, Float, PRNGKeyArray

from ._allegro_size import AllegroSize
from ._backbone import NodeOutput, checked_neighbours, element_index, element_table
from ._batch import Batch
from ._contract import LongRange
from ._convolution import block
from ._edges import EdgeHooks, sum_to_centre
from ._hooks import Hooks
from ._maps import Linear, Perceptron
from ._products import degree_of
from ._radial import Bessel, envelope
from ._tensor_layer import Surroundings, TensorLayer


class Allegro(eqx.Module):
    r"""The 2023 architecture, with hooks for long-range layers of degree 0.

    Latents $x_{ij}$ and equivariant features $V_{ij}$ of every edge are updated by
    `layers` tensor products, $x \leftarrow (x + a y)/(1 + a)$ with a learned $a$, and
    $E_i = N^{-1/2} \sum_j W x_{ij}$. Everything an edge carries vanishes at the cutoff.

    Hooks: `"embedding"` gets the species embedding, and its update enters the first
    equivariant features alone, through a network of both species; `"block 1"` ...
    before each later tensor layer; `"final"` hears the latents of all layers side by
    side. Layers on edges act through `EdgeAdapter`. `size.widths` has the channels at
    each hook.

    Args:
        elements: atomic numbers the model knows, in any order.
        size: shapes of the network.
        cutoff: Å.
        average_neighbours: mean number of neighbours in the training data.
        long_range: layers by hook.
        charges: hook whose charges the model reports, if there are several layers.
        key: seed of all weights.

    References:
        Musaelian et al., Nat. Commun. 14, 579 (2023), arXiv 2204.05249.
    """

    embedding: Float[Array, "elements embedding"]
    radial: Bessel
    two_body: Perceptron
    start: Linear
    informed_start: Perceptron | None
    layers: tuple[TensorLayer, ...]
    mixing: Float[Array, " layers"]
    readout: Linear
    edge_hooks: EdgeHooks
    edge_mixing: dict[str, Float[Array, "1"]]
    average_neighbours: Float[Array, ""]
    size: AllegroSize = eqx.field(static=True)
    elements: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        elements: tuple[int, ...],
        size: AllegroSize | None = None,
        *,
        cutoff: float = 4.5,
        average_neighbours: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: PRNGKeyArray,
    ):
        size = AllegroSize() if size is None else size
        keys = jr.split(key, 5 + size.layers)
        self.size = size
        self.elements = element_table(elements)
        self.average_neighbours = checked_neighbours(average_neighbours)
        self.embedding = jr.normal(keys[0], (len(self.elements), size.embedding))
        self.radial = Bessel(cutoff, count=size.bessel, power=size.envelope)
        inputs = 2 * size.embedding + size.bessel
        self.two_body = Perceptron(
            (inputs, *size.two_body, size.hidden), activation="mish", key=keys[1]
        )
        hooks = Hooks(
            long_range or {},
            offered=dict.fromkeys(size.widths, 0),
            elements=self.elements,
            charges=charges,
        )
        weights = len(size.start) * size.channels
        self.start = Linear(size.hidden, weights, key=keys[2])
        self.informed_start = None
        if hooks.acts("embedding"):
            inputs = size.hidden + 2 * size.embedding
            self.informed_start = Perceptron(
                (inputs, size.adapter, weights),
                activation="mish",
                key=jr.fold_in(keys[2], 1),
            )
        self.layers = tuple(
            TensorLayer(size, i, key=keys[5 + i]) for i in range(size.layers)
        )
        self.readout = Linear(size.hidden, 1, key=keys[3])
        said = {h: size.hidden for h in size.widths if h != "embedding"}
        said["final"] = size.hidden * size.layers
        self.edge_hooks = EdgeHooks(
            hooks, said, size.hidden, size.widths, activation="mish", key=keys[4]
        )
        self.mixing = jnp.full(size.layers, 0.5)
        self.edge_mixing = {h: jnp.full(1, 0.5) for h in size.widths if hooks.acts(h)}

    @property
    def cutoff(self) -> float:
        """Å."""
        return self.radial.cutoff

    @property
    def hooks(self) -> Hooks:
        """The long-range layers."""
        return self.edge_hooks.hooks

    @property
    def needs_triplets(self) -> bool:
        """False: sums over neighbours stand for them."""
        return False

    @property
    def has_charges(self) -> bool:
        """Whether a long-range layer says what the charges are."""
        return self.hooks.has_charges

    @property
    def uses_total_charge(self) -> bool:
        """Whether a long-range layer feels the total charge."""
        return self.hooks.uses_total_charge

    def plan_for(self, cells, positions, mask, **margin):
        """The long-range layers' plans, for `pack`; see `LongRange.plan_for`."""
        return self.hooks.plan_for(cells, positions, mask, **margin)

    def __call__(self, batch: Batch) -> NodeOutput:
        """Returns energies and charges of every atom of the batch."""
        vectors = batch.edge_vectors(beyond=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        around = Surroundings(
            spherical_harmonics(
                list(range(self.size.l_max + 1)),
                IrrepsArray("1o", vectors),
                normalize=True,
                normalization="component",
            ).array,
            envelope(distance, self.cutoff, self.size.envelope),
            jax.lax.stop_gradient(self.average_neighbours),
        )
        index = element_index(batch.species, self.elements)
        one_hot = jax.nn.one_hot(index, len(self.elements), dtype=vectors.dtype)
        species = one_hot @ self.embedding
        heard = {}
        latents = self._two_body(species, self.radial(distance), around, batch)
        informed, heard["embedding"] = self.hooks("embedding", species[:, None], batch)
        features = self._start(latents, informed[:, 0], around, batch)
        said = []
        for i, layer in enumerate(self.layers):
            if i > 0:
                hook = f"block {i}"
                latents, heard[hook] = self._hook(hook, latents, latents, around, batch)
            update, features = layer(latents, features, around, batch)
            latents = _mixed(latents, update, self.mixing[i])
            said.append(latents)
        joined = jnp.concatenate(said, axis=-1)
        latents, heard["final"] = self._hook("final", joined, latents, around, batch)
        short = sum_to_centre(self.readout(latents), batch)
        return self.hooks.output(short * around.neighbours**-0.5, heard, batch)

    def _two_body(self, species, basis, around, batch):
        """The first latents: of two elements and their distance."""
        ends = [species[batch.receivers], species[batch.senders]]
        latents = self.two_body(jnp.concatenate([*ends, basis], axis=-1))
        return around.weight[:, None] * latents

    def _start(self, latents, species, around, batch):
        """The first equivariant features by irrep: weighted harmonics."""
        weights = self.start(latents)
        if self.informed_start is not None:
            ends = [species[batch.receivers], species[batch.senders]]
            heard = self.informed_start(jnp.concatenate([latents, *ends], axis=-1))
            heard = around.weight[:, None] * heard
            weights = _mixed(weights, heard, self.edge_mixing["embedding"])
        parts = jnp.split(weights, len(self.size.start), axis=-1)
        degrees = map(degree_of, self.size.start)
        return {
            name: around.harmonics[:, block(d), None] * part[:, None]
            for name, d, part in zip(self.size.start, degrees, parts, strict=True)
        }

    def _hook(self, hook, said, latents, around, batch):
        """The latents with a layer's answer merged, and what the layer tells."""
        scales = (around.weight, around.neighbours)
        update, told = self.edge_hooks(hook, said, latents, scales, batch)
        if update is None:
            return latents, told
        return _mixed(latents, update, self.edge_mixing[hook]), told


def _mixed(latents, update, share):
    """The residual update (x + a y) / (1 + a)."""
    return (latents + share * update) / (1 + share)
