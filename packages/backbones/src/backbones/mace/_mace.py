"""MACE: equivariant message passing with many-body messages."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from e3nn_jax import IrrepsArray, spherical_harmonics
from jaxtyping import Array, Float, PRNGKeyArray

from .._abstract_backbone import AbstractBackbone
from .._backbone import checked_avg_num_neighbors, element_index, element_table
from .._batch import Batch
from .._hooks import Hooks, NodeOutput
from .._long_range import LongRange
from .._networks import Linear, Perceptron
from .._radial import Bessel
from ._interaction import Interaction
from ._rows import ROW_LENGTH, pad_to_rows
from ._size import MACESize


class MACE(AbstractBackbone):
    """MACE, with hooks for long-range layers.

    Hooks: `"embedding"` (scalars); `"block 1"` ... before each later interaction (up to
    the hidden degree); `"final"` (the concatenated scalars of all interactions, before
    the readouts). `size.widths` has the channels at each hook.

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
        arXiv 2206.07697.
    """

    embedding: Float[Array, "elements channels"]
    radial: Bessel
    interactions: tuple[Interaction, ...]
    readouts: tuple[Linear | Perceptron, ...]
    hooks: Hooks
    avg_num_neighbors: Float[Array, ""]
    size: MACESize = eqx.field(static=True)
    elements: tuple[int, ...] = eqx.field(static=True)
    Size: ClassVar[type] = MACESize
    needs_triplets: ClassVar[bool] = False

    def __init__(
        self,
        elements: tuple[int, ...],
        size: MACESize | None = None,
        *,
        cutoff: float = 4.5,
        avg_num_neighbors: float,
        long_range: Mapping[str, LongRange] | None = None,
        charges: str | None = None,
        key: PRNGKeyArray,
    ):
        size = MACESize() if size is None else size
        keys = jr.split(key, 2 + 2 * size.num_interactions)
        self.size = size
        self.elements = element_table(elements)
        self.embedding = jr.normal(keys[0], (len(self.elements), size.channels))
        self.radial = Bessel(
            cutoff, count=size.num_bessel, exponent=size.envelope_exponent
        )
        self.avg_num_neighbors = checked_avg_num_neighbors(avg_num_neighbors)
        self.interactions = tuple(
            Interaction(size, i, len(self.elements), key=keys[2 + 2 * i])
            for i in range(size.num_interactions)
        )
        self.readouts = tuple(
            Linear(size.channels, 1, key=keys[3 + 2 * i])
            if i < size.num_interactions - 1
            else Perceptron((size.channels, size.readout_width, 1), key=keys[3 + 2 * i])
            for i in range(size.num_interactions)
        )
        degrees_offered = dict.fromkeys(size.widths, 0)
        degrees_offered |= {
            f"block {i}": size.hidden_degree for i in range(1, size.num_interactions)
        }
        self.hooks = Hooks(
            long_range or {},
            offered=degrees_offered,
            elements=self.elements,
            charges=charges,
        )

    @property
    def cutoff(self) -> float:
        """Cutoff of the edges, Å."""
        return self.radial.cutoff

    def __call__(self, batch: Batch) -> NodeOutput:
        """Returns energies and charges of the atoms.

        Args:
            batch: the structures.
        """
        dtype = batch.positions.dtype
        index = element_index(batch.species, self.elements)
        one_hot = jax.nn.one_hot(index, len(self.elements), dtype=dtype)
        rows = pad_to_rows(batch)
        vectors = rows.edge_vectors(padding_length=self.cutoff)
        distance = jnp.linalg.norm(vectors, axis=-1)
        harmonics = spherical_harmonics(
            list(range(self.size.l_max + 1)),
            IrrepsArray("1o", vectors),
            normalize=True,
            normalization="component",
        ).array
        receivers = rows.receivers[::ROW_LENGTH]
        edges = (harmonics, self.radial(distance), rows.senders, receivers)
        avg_num_neighbors = jax.lax.stop_gradient(self.avg_num_neighbors)

        features = (one_hot @ self.embedding)[:, None, :]
        features, output = self.hooks("embedding", features, batch)
        outputs_by_hook, scalars_per_block = {"embedding": output}, []
        for i, interaction in enumerate(self.interactions):
            if i > 0:
                hook = f"block {i}"
                features, outputs_by_hook[hook] = self.hooks(hook, features, batch)
            features = interaction(features, edges, one_hot, avg_num_neighbors)
            scalars_per_block.append(features[:, 0])
        scalars = jnp.concatenate(scalars_per_block, axis=-1)[:, None]
        scalars, outputs_by_hook["final"] = self.hooks("final", scalars, batch)
        parts = jnp.split(scalars[:, 0], len(self.readouts), axis=-1)
        short_range = [
            readout(part) for part, readout in zip(parts, self.readouts, strict=True)
        ]
        return self.hooks.output(
            jnp.sum(jnp.stack(short_range), axis=0), outputs_by_hook, batch
        )
