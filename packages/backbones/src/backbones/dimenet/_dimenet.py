"""DimeNet++: directional message passing."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .._abstract_backbone import AbstractBackbone
from .._backbone import checked_avg_num_neighbors, element_index, element_table
from .._batch import Batch
from .._edge_hooks import EdgeAdapters
from .._hooks import Hooks, NodeOutput
from .._long_range import LongRange
from .._radial import Bessel, ball_gain, envelope
from .._triplets import Triplets
from ._blocks import AtomReadout, FirstMessages, Interaction
from ._size import DimeNetSize
from ._spherical_bessel import radial_waves, zonal_harmonics


class DimeNet(AbstractBackbone):
    """DimeNet++, with hooks for long-range layers of degree 0.

    The message of each edge j -> i is updated by those of the edges k -> j, weighted
    with functions of their distance and angle; the energy of an atom is the sum of one
    readout per block. Batches need triplets: `pack(..., triplets=True)`. Both bases
    have unit variance in a ball of the cutoff: angles matter from the first step.

    Hooks: `"embedding"` updates the species embedding; `"block 1"` ... are before each
    later block; `"final"` has the concatenated messages of all blocks, and its update
    enters the last readout. The last two kinds act on edges, through an `EdgeAdapter`
    whose output is added to the messages. `size.widths` has the channels at each hook.

    Args:
        elements: atomic numbers that the model supports, in any order.
        size: hyperparameters; None takes the published ones.
        cutoff: of the edges, Å.
        avg_num_neighbors: mean number of neighbors per atom in the training data.
            Sums over neighbors are divided by its square root.
        long_range: layers by hook; None for no layers.
        charges: hook whose charges the model predicts; needed only if there are two or
            more layers.
        key: seed of all weights.

    References:
        arXiv 2011.14115, arXiv 2003.03123.
    """

    embedding: Float[Array, "elements channels"]
    radial: Bessel
    first: FirstMessages
    interactions: tuple[Interaction, ...]
    readouts: tuple[AtomReadout, ...]
    hooks: Hooks
    edge_adapters: EdgeAdapters
    avg_num_neighbors: Float[Array, ""]
    size: DimeNetSize = eqx.field(static=True)
    elements: tuple[int, ...] = eqx.field(static=True)
    Size: ClassVar[type] = DimeNetSize
    needs_triplets: ClassVar[bool] = True

    def __init__(
        self,
        elements: tuple[int, ...],
        size: DimeNetSize | None = None,
        *,
        cutoff: float = 4.5,
        avg_num_neighbors: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: PRNGKeyArray,
    ):
        size = DimeNetSize() if size is None else size
        keys = jr.split(key, 5)
        self.size = size
        self.elements = element_table(elements)
        self.avg_num_neighbors = checked_avg_num_neighbors(avg_num_neighbors)
        self.embedding = jr.normal(keys[0], (len(self.elements), size.channels))
        self.radial = Bessel(
            cutoff, count=size.num_radial, exponent=size.envelope_exponent
        )
        self.first = FirstMessages(size, key=keys[1])
        self.interactions = tuple(
            Interaction(size, key=k) for k in jr.split(keys[2], size.num_blocks)
        )
        self.readouts = tuple(
            AtomReadout(size, key=k) for k in jr.split(keys[3], size.num_blocks + 1)
        )
        self.hooks = Hooks(
            long_range or {},
            offered=dict.fromkeys(size.widths, 0),
            elements=self.elements,
            charges=charges,
        )
        inputs = {h: size.channels for h in size.widths if h != "embedding"}
        inputs["final"] = size.channels * (size.num_blocks + 1)
        self.edge_adapters = EdgeAdapters(
            self.hooks, inputs, size.channels, size.widths, key=keys[4]
        )

    @property
    def cutoff(self) -> float:
        """Cutoff of the edges, Å."""
        return self.radial.cutoff

    def __call__(self, batch: Batch) -> NodeOutput:
        """Returns energies and charges of the atoms.

        Args:
            batch: the structures, with triplets.

        Raises:
            ValueError: the batch has no triplets.
        """
        if batch.triplets is None:
            raise ValueError(
                "DimeNet++ needs the triplets of a batch, and this one has none: "
                "pack the structures with `triplets=True`."
            )
        vectors = batch.edge_vectors(padding_length=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        basis = ball_gain(self.cutoff) * self.radial(distance)
        waves = self._waves(vectors, distance, batch.triplets)
        scales = (
            envelope(distance, self.cutoff, self.size.envelope_exponent),
            jax.lax.stop_gradient(self.avg_num_neighbors),
        )

        index = element_index(batch.species, self.elements)
        one_hot = jax.nn.one_hot(index, len(self.elements), dtype=vectors.dtype)
        species, outputs_by_hook = (one_hot @ self.embedding)[:, None], {}
        species, outputs_by_hook["embedding"] = self.hooks("embedding", species, batch)
        messages = self.first(species[:, 0], basis, batch)
        messages_per_block = [messages]
        for i, interaction in enumerate(self.interactions):
            if i > 0:
                hook = f"block {i}"
                update, outputs_by_hook[hook] = self.edge_adapters(
                    self.hooks, hook, messages, messages, scales, batch
                )
                messages = messages if update is None else messages + update
            messages = interaction(messages, basis, waves, batch.triplets, scales[1])
            messages_per_block.append(messages)
        joined = jnp.concatenate(messages_per_block, axis=-1)
        update, outputs_by_hook["final"] = self.edge_adapters(
            self.hooks, "final", joined, messages, scales, batch
        )
        messages_per_block[-1] = messages if update is None else messages + update
        short_range = [
            readout(messages, basis, scales[1], batch)
            for readout, messages in zip(self.readouts, messages_per_block, strict=True)
        ]
        return self.hooks.output(
            jnp.sum(jnp.stack(short_range), axis=0), outputs_by_hook, batch
        )

    def hook_parts(self, hook: str) -> tuple[Any, ...]:
        """Returns the adapter of the layer at a hook.

        Args:
            hook: with a layer.
        """
        adapter = self.edge_adapters.adapters.get(hook)
        return () if adapter is None else (adapter,)

    def _waves(self, vectors, distance, triplets: Triplets):
        """Returns the basis of distance and angle, `[triplets, waves]`."""
        incoming, outgoing = triplets.incoming, triplets.outgoing
        radial = radial_waves(
            distance, self.cutoff, self.size.num_spherical, self.size.num_radial
        )
        damping = envelope(distance, self.cutoff, self.size.envelope_exponent)
        # The integral of their squares over the ball is one, that of the basis 4 pi.
        gain = (4 * np.pi) ** 0.5 * ball_gain(self.cutoff)
        radial = radial * (gain * damping[:, None, None])
        # Edge vectors start at the receivers, so the incoming one is reversed.
        units = vectors / distance[:, None]
        cosine = -jnp.sum(units[incoming] * units[outgoing], axis=-1)
        angular = zonal_harmonics(cosine, self.size.num_spherical)
        angular = jnp.where(triplets.mask[:, None], angular, 0.0)
        return (radial[incoming] * angular[:, :, None]).reshape(len(cosine), -1)
