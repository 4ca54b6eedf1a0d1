"""MACE: message passing with many-body products of messages."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from e3nn_jax import IrrepsArray, spherical_harmonics
from jaxtyping import Array, Float, PRNGKeyArray

from ._backbone import NodeOutput, checked_neighbours, element_index, element_table
from ._batch import Batch
from ._contract import LongRange
from ._contraction import SymmetricContraction
from ._convolution import Convolution, block
from ._hooks import Hooks
from ._maps import DegreewiseLinear, ElementLinear, Linear, Perceptron
from ._radial import Bessel
from ._rows import WIDTH, in_rows


@dataclasses.dataclass(frozen=True)
class MACESize:
    """Hyperparameters of MACE that fix its shapes.

    Args:
        channels: width of every degree.
        hidden_degree: highest degree of the features between interactions.
        l_max: highest degree of harmonics and messages.
        correlation: factors in the product of messages, 1 to 3.
        interactions: how many rounds of message passing.
        bessel: number of radial functions.
        radial: widths of the radial network's hidden layers.
        readout: width of the last readout's hidden layer.
        envelope: power p of the cutoff polynomial.
    """

    channels: int = 64
    hidden_degree: int = 1
    l_max: int = 3
    correlation: int = 3
    interactions: int = 2
    bessel: int = 8
    radial: tuple[int, ...] = (64, 64, 64)
    readout: int = 16
    envelope: int = 6

    def __post_init__(self):
        counts = ("channels", "l_max", "correlation", "interactions", "bessel")
        for field in (*counts, "readout", "envelope"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` must be at least 1, got {getattr(self, field)}."
                )
        if min(self.radial, default=1) < 1:
            raise ValueError(f"`radial` widths must be at least 1, got {self.radial}.")
        # Tables of the products hold this many numbers for each polynomial.
        if (self.l_max + 1) ** (2 * self.correlation) > 2e5 or self.l_max > 11:
            raise ValueError(
                f"`l_max` = {self.l_max} with `correlation` = {self.correlation} needs "
                "tables too large to make: the most are 11 with 1 or 2, 6 with 3."
            )
        if not 0 <= self.hidden_degree <= self.l_max:
            raise ValueError(
                f"`hidden_degree` lies between 0 and l_max = {self.l_max}, got "
                f"{self.hidden_degree}."
            )

    @property
    def widths(self) -> dict[str, int]:
        """Channels of the features at every hook: what a layer there is built for."""
        blocks = {f"block {i}": self.channels for i in range(1, self.interactions)}
        final = self.channels * self.interactions
        return {"embedding": self.channels, **blocks, "final": final}


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
        outgoing = 0 if index == size.interactions - 1 else size.hidden_degree
        degrees = size.l_max + 1 if first else outgoing + 1
        self.up = DegreewiseLinear((width,) * (incoming + 1), width, key=keys[0])
        self.convolution = Convolution(
            incoming, size.l_max, width, (size.bessel, *size.radial), key=keys[1]
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
        mixed = self.up([features[:, block(d)] for d in degrees])
        messages = self.convolution(mixed, harmonics, basis, senders, receivers)
        messages = messages / neighbours
        if self.first:
            messages = self.skip(messages, one_hot)
        product = self.contraction(messages, one_hot)
        mixed = [down(product[:, block(d)]) for d, down in enumerate(self.down)]
        out = jnp.concatenate(mixed, axis=1)
        if self.first:
            return out
        components = len(self.down) ** 2
        return out + self.skip(features[:, :components], one_hot)


class MACE(eqx.Module):
    """Higher-order equivariant message passing with hooks for long-range layers.

    Hooks: `"embedding"` (scalars), `"block 1"` ... before each later interaction (up
    to the hidden degree), `"final"` (the scalars of all blocks side by side). A layer
    at the final hook has `channels * interactions` input channels, elsewhere
    `channels`.

    Args:
        elements: atomic numbers the model knows, in any order.
        size: shapes of the network.
        cutoff: Å.
        average_neighbours: mean number of neighbours in the training data.
        long_range: layers by hook.
        charges: hook whose charges the model reports, if there are several layers.
        key: seed of all weights.

    References:
        arXiv 2206.07697.
    """

    embedding: Float[Array, "elements channels"]
    radial: Bessel
    interactions: tuple[Interaction, ...]
    readouts: tuple[Linear | Perceptron, ...]
    hooks: Hooks
    average_neighbours: Float[Array, ""]
    size: MACESize = eqx.field(static=True)
    elements: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        elements: tuple[int, ...],
        size: MACESize | None = None,
        *,
        cutoff: float = 4.5,
        average_neighbours: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: PRNGKeyArray,
    ):
        size = MACESize() if size is None else size
        keys = jr.split(key, 2 + 2 * size.interactions)
        self.size = size
        self.elements = element_table(elements)
        self.embedding = jr.normal(keys[0], (len(self.elements), size.channels))
        self.radial = Bessel(cutoff, count=size.bessel, power=size.envelope)
        self.average_neighbours = checked_neighbours(average_neighbours)
        self.interactions = tuple(
            Interaction(size, i, len(self.elements), key=keys[2 + 2 * i])
            for i in range(size.interactions)
        )
        self.readouts = tuple(
            Linear(size.channels, 1, key=keys[3 + 2 * i])
            if i < size.interactions - 1
            else Perceptron((size.channels, size.readout, 1), key=keys[3 + 2 * i])
            for i in range(size.interactions)
        )
        degrees = dict.fromkeys(size.widths, 0)
        degrees |= {
            f"block {i}": size.hidden_degree for i in range(1, size.interactions)
        }
        self.hooks = Hooks(
            long_range or {}, offered=degrees, elements=self.elements, charges=charges
        )

    @property
    def cutoff(self) -> float:
        """Å."""
        return self.radial.cutoff

    @property
    def needs_triplets(self) -> bool:
        """False: pairs are all it works on."""
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
        dtype = batch.positions.dtype
        index = element_index(batch.species, self.elements)
        one_hot = jax.nn.one_hot(index, len(self.elements), dtype=dtype)
        rows = in_rows(batch)
        vectors = rows.edge_vectors(beyond=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        harmonics = spherical_harmonics(
            list(range(self.size.l_max + 1)),
            IrrepsArray("1o", vectors),
            normalize=True,
            normalization="component",
        ).array
        centres = rows.receivers[::WIDTH]
        edges = (harmonics, self.radial(distance), rows.senders, centres)
        neighbours = jax.lax.stop_gradient(self.average_neighbours)

        features = (one_hot @ self.embedding)[:, None, :]
        features, told = self.hooks("embedding", features, batch)
        heard, blocks = {"embedding": told}, []
        for i, interaction in enumerate(self.interactions):
            if i > 0:
                hook = f"block {i}"
                features, heard[hook] = self.hooks(hook, features, batch)
            features = interaction(features, edges, one_hot, neighbours)
            blocks.append(features[:, 0])
        scalars = jnp.concatenate(blocks, axis=-1)[:, None]
        scalars, heard["final"] = self.hooks("final", scalars, batch)
        parts = jnp.split(scalars[:, 0], len(self.readouts), axis=-1)
        read = [read(part) for part, read in zip(parts, self.readouts, strict=True)]
        return self.hooks.output(jnp.sum(jnp.stack(read), axis=0), heard, batch)
