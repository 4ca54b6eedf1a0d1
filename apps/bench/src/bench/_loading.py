"""Batches of structures with their labels, in a few fixed shapes."""

import dataclasses
from collections.abc import Iterator

import equinox as eqx
import numpy as np
from backbones import Backbone, Batch, Bucket, pack
from jaxtyping import Array, Float

from ._config import Grid
from ._dataset import DataSet
from ._references import composition_energy


class Targets(eqx.Module):
    """Labels of a batch; weights are zero on padding and where there is no label."""

    energy: Float[np.ndarray | Array, " graphs"]
    """eV, without the reference energies."""
    forces: Float[np.ndarray | Array, "graphs slots 3"]
    """eV/Å."""
    stress: Float[np.ndarray | Array, "graphs 6"]
    """eV/Å^3."""
    charges: Float[np.ndarray | Array, "graphs slots"]
    """e."""
    energy_weight: Float[np.ndarray | Array, " graphs"]
    force_weight: Float[np.ndarray | Array, "graphs slots"]
    stress_weight: Float[np.ndarray | Array, " graphs"]
    charge_weight: Float[np.ndarray | Array, "graphs slots"]


@dataclasses.dataclass(frozen=True)
class Shelf:
    """A data set packed for one kind of model."""

    data: DataSet
    buckets: list[Bucket]

    @property
    def average_neighbours(self) -> dict[int, float]:
        """Mean number of neighbours an atom of each sample has."""
        return {
            int(m): len(p) / len(s)
            for b in self.buckets
            for m, s, p in zip(b.members, b.structures, b.pairs, strict=True)
        }

    def batches(
        self,
        members: np.ndarray,
        references: dict[int, float],
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[np.ndarray, Batch, Targets]]:
        """Indices, inputs and labels of all the members, batch by batch.

        Args:
            members: indices of samples.
            references: eV by atomic number, taken off the energies in float64.
            rng: shuffles structures and batches; None keeps their order.
        """
        chunks = self._chunks(members, rng)
        if rng is not None:
            rng.shuffle(chunks)
        for b, rows in chunks:
            bucket = self.buckets[b]
            chosen = bucket.members[rows]
            targets = self._targets(chosen, bucket, references)
            yield chosen, bucket.batch(rows.tolist()), targets

    def count(self, members: np.ndarray) -> int:
        """How many batches all the members make."""
        return len(self._chunks(members, None))

    def _chunks(self, members, rng) -> list[tuple[int, np.ndarray]]:
        """Bucket and rows of every batch."""
        chunks = []
        for b, bucket in enumerate(self.buckets):
            rows = np.flatnonzero(np.isin(bucket.members, members))
            if rng is not None:
                rng.shuffle(rows)
            cuts = range(0, len(rows), bucket.graphs)
            chunks += [(b, rows[i : i + bucket.graphs]) for i in cuts]
        return chunks

    def _targets(self, chosen, bucket: Bucket, references) -> Targets:
        graphs, atoms = (bucket.graphs,), (bucket.graphs, bucket.slots)
        zeros = lambda *shape: np.zeros(shape, np.float32)
        targets = Targets(
            zeros(*graphs), zeros(*atoms, 3), zeros(*graphs, 6), zeros(*atoms),
            zeros(*graphs), zeros(*atoms), zeros(*graphs), zeros(*atoms),
        )  # fmt: skip
        for g, index in enumerate(chosen):
            sample = self.data.samples[index]
            n = len(sample.structure)
            targets.energy[g] = sample.energy - composition_energy(sample, references)
            targets.energy_weight[g] = 1.0
            if sample.forces is not None:
                targets.forces[g, :n] = sample.forces
                targets.force_weight[g, :n] = 1.0
            if sample.stress is not None:
                targets.stress[g], targets.stress_weight[g] = sample.stress, 1.0
            if sample.charges is not None:
                targets.charges[g, :n] = sample.charges
                targets.charge_weight[g, :n] = 1.0
        return targets


def fill_shelf(data: DataSet, grid: Grid, backbone: Backbone) -> Shelf:
    """Packs a whole data set, so that all splits share its few shapes.

    Args:
        data: labelled structures.
        grid: cutoff, batch size and number of buckets.
        backbone: of the kind that will be trained; its weights do not matter.
    """
    buckets = pack(
        [s.structure for s in data.samples],
        cutoff=grid.model.cutoff,
        graphs=grid.train.batch,
        buckets=grid.train.buckets,
        plan_for=backbone.plan_for,
        triplets=backbone.needs_triplets,
    )
    return Shelf(data, buckets)
