"""Batches of structures with their labels, in a few fixed shapes, made ahead."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import numpy as np
from backbones import (
    Backbone,
    Batch,
    Bucket,
    PaddedSizes,
    make_plans,
    size_classes,
    sizes_for,
)
from jax.tree_util import tree_map
from jaxtyping import Array, Float

from bench.batches.neighbors import Edges, find_edges
from bench.batches.prefetching import prefetch
from bench.dataset.opening import Dataset, Sample
from bench.dataset.per_element import composition_energy
from bench.settings.grid import Grid


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
    dipoles: Float[np.ndarray | Array, "graphs 3"]
    """e Å about the centre of mass."""
    energy_weight: Float[np.ndarray | Array, " graphs"]
    force_weight: Float[np.ndarray | Array, "graphs slots"]
    stress_weight: Float[np.ndarray | Array, " graphs"]
    charge_weight: Float[np.ndarray | Array, "graphs slots"]
    dipole_weight: Float[np.ndarray | Array, " graphs"]
    atoms: Float[np.ndarray | Array, " graphs"]
    """How many each structure has."""

    def without_weights(self) -> "Targets":
        """The same labels without any weight."""
        return dataclasses.replace(
            self,
            **{
                name: np.zeros_like(getattr(self, name))
                for name in self.__dataclass_fields__
                if name.endswith("_weight")
            },
        )


@dataclasses.dataclass(frozen=True)
class SizeBucket:
    """Samples of similar size, and the one shape that all their batches have.

    Args:
        members: indices of the samples.
        room: sizes of a batch; no choice of members ever overflows them.
        has_triplets: whether batches come with them.
        plan: the backbone's, for all members and, last, for a padding structure.
    """

    members: np.ndarray
    room: PaddedSizes
    has_triplets: bool
    plan: Any


@dataclasses.dataclass(frozen=True)
class BatchedDataset:
    """A data set and the shapes in which one kind of model takes it.

    Structures stay where the data set has them; a batch is built when its turn comes.

    Args:
        data: labelled structures.
        shapes: with all samples between them.
        edges: of all samples.
    """

    data: Dataset
    shapes: list[SizeBucket]
    edges: Edges

    @property
    def avg_num_neighbors(self) -> dict[int, float]:
        """Mean number of neighbours an atom of each sample has."""
        return dict(enumerate((self.edges.counts.edges / self.data.sizes).tolist()))

    def batches(
        self,
        members: np.ndarray,
        atomic_energies: dict[int, float],
        rng: np.random.Generator | None = None,
        start: int = 0,
    ) -> Iterator[tuple[np.ndarray, Batch, Targets]]:
        """Indices, inputs and labels of all the members, batch by batch.

        A thread builds the next batches while one is being used, other processes find
        the edges of a large set; neither changes what comes or in which order.

        Args:
            members: indices of samples.
            atomic_energies: eV by atomic number, taken off the energies in float64.
            rng: shuffles structures and batches; None keeps their order.
            start: batches at the beginning that were used before and are left out: with
                an equal `rng`, the rest is what it would have been.
        """
        chunks = self._chunks(members, rng)
        if rng is not None:
            rng.shuffle(chunks)
        return prefetch(self._built(chunks[start:], atomic_energies))

    def steps(
        self,
        members: np.ndarray,
        atomic_energies: dict[int, float],
        rng: np.random.Generator,
        several: int,
        start: int = 0,
    ) -> Iterator[list[tuple[Batch, Targets]]]:
        """Inputs and labels, at most `several` batches of one shape at a time.

        Args:
            members: indices of samples.
            atomic_energies: eV by atomic number, taken off the energies in float64.
            rng: shuffles structures, batches and what comes together.
            several: batches a step.
            start: steps at the beginning that are left out, as in `batches`.
        """
        groups = self._groups(members, rng, several)[start:]
        every = [chunk for group in groups for chunk in group]
        built = prefetch(self._built(every, atomic_energies))
        for group in groups:
            yield [next(built)[1:] for _ in group]

    def step_members(
        self, members: np.ndarray, rng: np.random.Generator, several: int
    ) -> list[np.ndarray]:
        """Indices of the samples of each of the `steps`.

        Args:
            members: indices of samples.
            rng: as for `steps`.
            several: batches a step.
        """
        groups = self._groups(members, rng, several)
        indices = lambda group: [self.shapes[s].members[rows] for s, rows in group]
        return [np.concatenate(indices(group)) for group in groups]

    def _groups(self, members, rng, several) -> list[list]:
        """Bucket and rows of every batch of every step."""
        groups = _together(self._chunks(members, rng), several)
        rng.shuffle(groups)
        return groups

    def count(self, members: np.ndarray, several: int = 1) -> int:
        """How many steps of at most `several` batches all the members make."""
        return len(_together(self._chunks(members, None), several))

    def _chunks(self, members, rng) -> list[tuple[int, np.ndarray]]:
        """Bucket of every batch, and its rows among the members of that shape."""
        chunks = []
        for s, shape in enumerate(self.shapes):
            rows = np.flatnonzero(np.isin(shape.members, members))
            if rng is not None:
                rng.shuffle(rows)
            cuts = range(0, len(rows), shape.room.graphs)
            chunks += [(s, rows[i : i + shape.room.graphs]) for i in cuts]
        return chunks

    def _built(self, chunks, atomic_energies):
        indices = [self.shapes[s].members[rows] for s, rows in chunks]
        for (s, rows), chosen, pairs in zip(
            chunks, indices, self.edges.of(indices), strict=True
        ):
            samples = [self.data.samples[int(i)] for i in chosen]
            batch = _batch(self.shapes[s], rows, samples, pairs)
            yield chosen, batch, _targets(samples, self.shapes[s].room, atomic_energies)


def _together(chunks: list[tuple[int, np.ndarray]], several: int) -> list[list]:
    """Groups of at most `several` neighbouring chunks of one shape."""
    groups = []
    for _, same in itertools.groupby(chunks, key=lambda chunk: chunk[0]):
        groups += map(list, itertools.batched(same, several))
    return groups


def batch_dataset(data: Dataset, grid: Grid, backbone: Backbone) -> BatchedDataset:
    """Finds shapes for a whole data set, so that all splits share a few of them.

    Memory that grows with the data: a few numbers a structure, the backbone's plans,
    and, of sets of up to a million atoms, the edges.

    Args:
        data: labelled structures, all open or all periodic.
        grid: cutoff, batch size and number of shapes.
        backbone: of the kind that will be trained; its weights do not matter.
    """
    structures = lambda i: data.samples[i].structure
    edges = find_edges(structures, data.sizes, grid.model.cutoff)
    shapes = []
    for members in size_classes(data.sizes, grid.train.buckets):
        counts = (each[members] for each in (data.sizes, *edges.counts))
        room = sizes_for(*counts, graphs=grid.train.batch)
        chosen = [structures(int(i)) for i in members]
        # On the host, where batches are cut out of it.
        plan = tree_map(np.asarray, make_plans(backbone.plan_for, chosen, room.slots))
        shapes.append(SizeBucket(members, room, backbone.needs_triplets, plan))
    return BatchedDataset(data, shapes, edges)


def _batch(shape: SizeBucket, rows: np.ndarray, samples: list[Sample], pairs) -> Batch:
    """Some members of a shape, whose plan is cut out of that of all."""
    own = np.append(rows, len(shape.members))
    room = shape.room
    bucket = Bucket(
        members=shape.members[rows],
        graphs=room.graphs,
        slots=room.slots,
        edges=room.edges,
        structures=tuple(s.structure for s in samples),
        pairs=tuple(pairs),
        dtype=np.dtype(np.float32),
        plan=tree_map(lambda leaf: leaf[own], shape.plan),
        triplets=room.triplets if shape.has_triplets else None,
    )
    return bucket.batch(range(len(rows)))


def _targets(samples: list[Sample], room: PaddedSizes, atomic_energies) -> Targets:
    graphs, atoms = (room.graphs,), (room.graphs, room.slots)
    zeros = lambda *shape: np.zeros(shape, np.float32)
    targets = Targets(
        zeros(*graphs), zeros(*atoms, 3), zeros(*graphs, 6), zeros(*atoms),
        zeros(*graphs, 3),
        zeros(*graphs), zeros(*atoms), zeros(*graphs), zeros(*atoms), zeros(*graphs),
        zeros(*graphs),
    )  # fmt: skip
    for g, sample in enumerate(samples):
        n = len(sample.structure)
        targets.atoms[g] = n
        if sample.energy is not None:
            known = composition_energy(sample, atomic_energies)
            targets.energy[g], targets.energy_weight[g] = sample.energy - known, 1.0
        if sample.forces is not None:
            targets.forces[g, :n] = sample.forces
            targets.force_weight[g, :n] = 1.0
        if sample.stress is not None:
            targets.stress[g], targets.stress_weight[g] = sample.stress, 1.0
        if sample.dipole is not None:
            targets.dipoles[g], targets.dipole_weight[g] = sample.dipole, 1.0
        if sample.charges is not None:
            targets.charges[g, :n] = sample.charges
            targets.charge_weight[g, :n] = 1.0
    return targets
