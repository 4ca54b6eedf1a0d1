"""A backbone: one sum over the neighbors, with two hooks."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from backbones import AbstractBackbone, Batch, Hooks, LongRange, NodeOutput


@dataclasses.dataclass(frozen=True)
class PairNetworkSize:
    """Hyperparameters of `PairNetwork`.

    Args:
        channels: number of scalars per atom.
        num_radial: number of radial functions.
        decay: of the radial functions, 1/Å².
    """

    channels: int = 8
    num_radial: int = 4
    decay: float = 2.0

    @property
    def widths(self) -> dict[str, int]:
        """Channels at each hook."""
        return {"embedding": self.channels, "final": self.channels}


class PairNetwork(AbstractBackbone):
    """Sums of functions of the distances, weighted with scalars of the neighbors.

    The arguments of the constructor are those of `backbones.Backbone`.
    """

    embedding: jax.Array
    radial: jax.Array
    mixing: jax.Array
    readout: jax.Array
    hooks: Hooks
    avg_num_neighbors: jax.Array
    elements: tuple[int, ...] = eqx.field(static=True)
    size: PairNetworkSize = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    Size: ClassVar[type] = PairNetworkSize
    needs_triplets: ClassVar[bool] = False

    def __init__(
        self,
        elements: tuple[int, ...],
        size: PairNetworkSize | None = None,
        *,
        cutoff: float = 4.5,
        avg_num_neighbors: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: jax.Array,
    ):
        self.size = PairNetworkSize() if size is None else size
        channels = self.size.channels
        keys = jr.split(key, 4)
        self.elements = tuple(sorted(elements))
        self.cutoff = cutoff
        self.avg_num_neighbors = jnp.asarray(avg_num_neighbors, float)
        self.embedding = jr.normal(keys[0], (len(elements), channels))
        self.radial = jr.normal(keys[1], (self.size.num_radial, channels))
        self.mixing = jr.normal(keys[2], (channels, channels)) / channels**0.5
        self.readout = jr.normal(keys[3], (channels, 1)) / channels**0.5
        self.hooks = Hooks(
            long_range or {},
            offered=dict.fromkeys(self.size.widths, 0),
            elements=self.elements,
            charges=charges,
        )

    def __call__(self, batch: Batch) -> NodeOutput:
        """Returns energies and charges of the atoms."""
        one_hot = batch.species.reshape(-1, 1) == jnp.array(self.elements)
        features = (one_hot.astype(batch.positions.dtype) @ self.embedding)[:, None]
        features, first = self.hooks("embedding", features, batch)
        features = features[:, 0]
        vectors = batch.edge_vectors(padding_length=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        envelope = jnp.maximum(1 - (distance / self.cutoff) ** 2, 0.0) ** 4
        centers = jnp.linspace(
            0.5, self.cutoff, self.size.num_radial, dtype=distance.dtype
        )
        basis = jnp.exp(-self.size.decay * (distance[:, None] - centers) ** 2)
        messages = (basis * envelope[:, None]) @ self.radial * features[batch.senders]
        sums = jax.ops.segment_sum(messages, batch.receivers, len(features))
        sums = sums * jax.lax.stop_gradient(self.avg_num_neighbors) ** -0.5
        scalars = features + jax.nn.silu((features + sums) @ self.mixing)
        scalars, last = self.hooks("final", scalars[:, None], batch)
        outputs_by_hook = {"embedding": first, "final": last}
        return self.hooks.output(scalars[:, 0] @ self.readout, outputs_by_hook, batch)
