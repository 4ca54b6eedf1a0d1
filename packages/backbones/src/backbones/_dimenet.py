"""DimeNet++: directional message passing."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._backbone import NodeOutput, checked_neighbours, element_index, element_table
from ._batch import Batch
from ._contract import LongRange
from ._directional import AtomReadout, DimeNetSize, FirstMessages, Interaction
from ._edges import EdgeHooks
from ._hooks import Hooks
from ._radial import Bessel, envelope
from ._spherical_bessel import radial_waves, zonal_harmonics
from ._triplets import Triplets


class DimeNet(eqx.Module):
    """DimeNet++, with hooks for long-range layers of degree 0.

    A message on every edge j -> i is updated by those on edges k -> j, weighted with
    functions of their distance and angle; the energy of an atom is the sum of one
    readout a block. Batches need triplets: `pack(..., triplets=True)`.

    Hooks: `"embedding"` updates the species embedding; `"block 1"` ... acts before each
    later block; `"final"` hears the messages of all blocks side by side and acts
    before the last readout. Layers on edges act through `EdgeAdapter`, and the answer
    is added to the messages. `size.widths` has the channels at each hook.

    Args:
        elements: atomic numbers the model knows, in any order.
        size: shapes of the network.
        cutoff: Å.
        average_neighbours: mean number of neighbours in the training data; it scales
            the sums of the adapters alone.
        long_range: layers by hook.
        charges: hook whose charges the model reports, if there are several layers.
        key: seed of all weights.

    References:
        arXiv 2011.14115, arXiv 2003.03123.
    """

    embedding: Float[Array, "elements channels"]
    radial: Bessel
    first: FirstMessages
    interactions: tuple[Interaction, ...]
    readouts: tuple[AtomReadout, ...]
    edge_hooks: EdgeHooks
    average_neighbours: Float[Array, ""]
    size: DimeNetSize = eqx.field(static=True)
    elements: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        elements: tuple[int, ...],
        size: DimeNetSize | None = None,
        *,
        cutoff: float = 4.5,
        average_neighbours: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: PRNGKeyArray,
    ):
        size = DimeNetSize() if size is None else size
        keys = jr.split(key, 5)
        self.size = size
        self.elements = element_table(elements)
        self.average_neighbours = checked_neighbours(average_neighbours)
        self.embedding = jr.normal(keys[0], (len(self.elements), size.channels))
        self.radial = Bessel(cutoff, count=size.radial, power=size.envelope)
        self.first = FirstMessages(size, key=keys[1])
        self.interactions = tuple(
            Interaction(size, key=k) for k in jr.split(keys[2], size.blocks)
        )
        self.readouts = tuple(
            AtomReadout(size, key=k) for k in jr.split(keys[3], size.blocks + 1)
        )
        hooks = Hooks(
            long_range or {},
            offered=dict.fromkeys(size.widths, 0),
            elements=self.elements,
            charges=charges,
        )
        said = {h: size.channels for h in size.widths if h != "embedding"}
        said["final"] = size.channels * (size.blocks + 1)
        self.edge_hooks = EdgeHooks(
            hooks, said, size.channels, size.widths, key=keys[4]
        )

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
        """True: messages know the angles between edges."""
        return True

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
        """Returns energies and charges of every atom of the batch.

        Raises:
            ValueError: the batch has no triplets.
        """
        if batch.triplets is None:
            raise ValueError(
                "DimeNet++ needs the triplets of a batch, and this one has none: "
                "pack the structures with `triplets=True`."
            )
        vectors = batch.edge_vectors(beyond=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        basis = self.radial(distance)
        waves = self._waves(vectors, distance, batch.triplets)
        neighbours = jax.lax.stop_gradient(self.average_neighbours)
        around = (envelope(distance, self.cutoff, self.size.envelope), neighbours)

        index = element_index(batch.species, self.elements)
        one_hot = jax.nn.one_hot(index, len(self.elements), dtype=vectors.dtype)
        species, heard = (one_hot @ self.embedding)[:, None], {}
        species, heard["embedding"] = self.hooks("embedding", species, batch)
        messages = self.first(species[:, 0], basis, batch)
        said = [messages]
        for i, interaction in enumerate(self.interactions):
            if i > 0:
                hook = f"block {i}"
                answer, heard[hook] = self.edge_hooks(
                    hook, messages, messages, around, batch
                )
                messages = messages if answer is None else messages + answer
            messages = interaction(messages, basis, waves, batch.triplets)
            said.append(messages)
        answer, heard["final"] = self.edge_hooks(
            "final", jnp.concatenate(said, axis=-1), messages, around, batch
        )
        said[-1] = messages if answer is None else messages + answer
        short = [
            read(m, basis, batch) for read, m in zip(self.readouts, said, strict=True)
        ]
        return self.hooks.output(jnp.sum(jnp.stack(short), axis=0), heard, batch)

    def _waves(self, vectors, distance, triplets: Triplets):
        """Functions of each incoming edge and its angle, `[triplets, waves]`."""
        incoming, outgoing = triplets.incoming, triplets.outgoing
        radial = radial_waves(
            distance, self.cutoff, self.size.spherical, self.size.radial
        )
        weight = envelope(distance, self.cutoff, self.size.envelope)
        radial = radial * weight[:, None, None]
        # Both vectors start at their receivers: one turns round to share the corner.
        units = vectors / distance[:, None]
        cosine = -jnp.sum(units[incoming] * units[outgoing], axis=-1)
        angular = zonal_harmonics(cosine, self.size.spherical)
        angular = jnp.where(triplets.mask[:, None], angular, 0.0)
        return (radial[incoming] * angular[:, :, None]).reshape(len(cosine), -1)
