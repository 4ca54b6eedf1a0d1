"""Batches of structures with their labels, in a few fixed shapes."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from backbones import (
    Backbone,
    Batch,
    PaddedSizes,
    Structure,
    make_batch,
    make_plans,
    size_classes,
    sizes_for,
    take_plan,
)
from jax.tree_util import tree_map

from bench.batches.neighbors import Edges, find_edges
from bench.batches.prefetching import prefetch
from bench.batches.targets import Targets, make_targets
from bench.dataset.opening import Dataset, Sample


@dataclasses.dataclass(frozen=True)
class SizeBucket:
    """Samples of similar size, whose batches are padded to one shape.

    Args:
        members: indices of the samples.
        sizes: padded sizes of a batch; any choice of members fits.
        has_triplets: whether batches contain triplets of atoms.
        plan: lattice-sum plan of the backbone with one row per member and, last, one
            for a padding structure.
    """

    members: np.ndarray
    sizes: PaddedSizes
    has_triplets: bool
    plan: Any


@dataclasses.dataclass(frozen=True)
class BatchedDataset:
    """A dataset divided into buckets of batches for one kind of model.

    Structures are read from the dataset when a batch is built.

    Args:
        data: labeled structures.
        buckets: each sample is a member of exactly one.
        edges: neighbor lists of all samples.
        atomic_energies: eV by atomic number, subtracted from the labels of energies in
            float64; see `with_atomic_energies`.
    """

    data: Dataset
    buckets: list[SizeBucket]
    edges: Edges
    atomic_energies: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def with_atomic_energies(self, energies: Mapping[int, float]) -> "BatchedDataset":
        """Returns the same batches for training on energies relative to these.

        Args:
            energies: eV by atomic number, of all elements of the training set.
        """
        return dataclasses.replace(self, atomic_energies=dict(energies))

    @property
    def avg_num_neighbors(self) -> np.ndarray:
        """Average number of neighbors per atom of each sample, `(samples,)`."""
        return self.edges.counts.edges / self.data.sizes

    def batches(
        self,
        members: np.ndarray,
        rng: np.random.Generator | None = None,
        start: int = 0,
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yields indices and inputs of the members, batch by batch.

        A thread builds the next batches while one is in use; other processes find the
        edges of a large set. Neither changes the batches or their order.

        Args:
            members: indices of samples.
            rng: shuffles structures and batches; None keeps their order.
            start: number of batches to skip. With `rng` in the same state, the
                remaining batches are the same as without skipping.
        """
        chunks = self._chunks(members, rng)
        if rng is not None:
            rng.shuffle(chunks)
        batches = self._build(chunks[start:])
        return prefetch((indices, batch) for indices, _, batch in batches)

    def steps(
        self,
        members: np.ndarray,
        rng: np.random.Generator,
        batches_per_step: int,
        start: int = 0,
    ) -> Iterator[list[tuple[Batch, Targets]]]:
        """Yields inputs and labels of at most `batches_per_step` batches of one shape.

        Args:
            members: indices of samples.
            rng: shuffles structures, batches and steps.
            batches_per_step: largest number of batches in a step.
            start: number of steps to skip, as in `batches`.
        """
        steps = self._step_chunks(members, rng, batches_per_step)[start:]
        chunks = [chunk for step in steps for chunk in step]
        batches = prefetch(
            (
                batch,
                make_targets(samples, batch.graphs, batch.slots, self.atomic_energies),
            )
            for _, samples, batch in self._build(chunks)
        )
        for step in steps:
            yield [next(batches) for _ in step]

    def step_members(
        self, members: np.ndarray, rng: np.random.Generator, batches_per_step: int
    ) -> list[np.ndarray]:
        """Returns the indices of the samples of each of the `steps`.

        Args:
            members: indices of samples.
            rng: in the same state as the one passed to `steps`.
            batches_per_step: largest number of batches in a step.
        """
        steps = self._step_chunks(members, rng, batches_per_step)
        indices = lambda step: [self.buckets[b].members[rows] for b, rows in step]
        return [np.concatenate(indices(step)) for step in steps]

    def num_steps(self, members: np.ndarray, batches_per_step: int = 1) -> int:
        """Returns the number of steps that contain all the members.

        Args:
            members: indices of samples.
            batches_per_step: largest number of batches in a step.
        """
        return len(_grouped(self._chunks(members, None), batches_per_step))

    def _step_chunks(self, members, rng, batches_per_step) -> list[list]:
        """Returns the chunks of each step, in random order."""
        steps = _grouped(self._chunks(members, rng), batches_per_step)
        rng.shuffle(steps)
        return steps

    def _chunks(self, members, rng) -> list[tuple[int, np.ndarray]]:
        """Returns each batch as the index of its bucket and rows of the bucket."""
        chunks = []
        for b, bucket in enumerate(self.buckets):
            rows = np.flatnonzero(np.isin(bucket.members, members))
            if rng is not None:
                rng.shuffle(rows)
            size = bucket.sizes.graphs
            chunks += [(b, rows[i : i + size]) for i in range(0, len(rows), size)]
        return chunks

    def _build(self, chunks) -> Iterator[tuple[np.ndarray, list[Sample], Batch]]:
        """Yields indices, samples and inputs of each chunk."""
        indices = [self.buckets[b].members[rows] for b, rows in chunks]
        for (b, rows), batch_indices, pairs in zip(
            chunks, indices, self.edges.for_batches(indices), strict=True
        ):
            bucket = self.buckets[b]
            samples = [self.data.samples[int(i)] for i in batch_indices]
            batch = make_batch(
                [sample.structure for sample in samples],
                pairs,
                bucket.sizes,
                take_plan(bucket.plan, rows, bucket.sizes.graphs),
                triplets=bucket.has_triplets,
            )
            yield batch_indices, samples, batch


def _grouped(chunks: list[tuple[int, np.ndarray]], batches_per_step: int) -> list[list]:
    """Returns groups of adjacent chunks of one bucket."""
    groups = []
    for _, adjacent in itertools.groupby(chunks, key=lambda chunk: chunk[0]):
        groups += map(list, itertools.batched(adjacent, batches_per_step))
    return groups


def batch_dataset(
    data: Dataset, backbone: Backbone, *, batch_size: int, num_buckets: int = 1
) -> BatchedDataset:
    """Divides a dataset into buckets of batches that all splits share.

    What is kept in memory for the whole dataset: a few numbers per structure, the
    backbone's plans and, for sets of up to a million atoms, the edges.

    Args:
        data: structures, either all open or all periodic.
        backbone: has the architecture to be trained; its weights are not used.
        batch_size: structures per batch.
        num_buckets: largest number of padded shapes.
    """
    edges = find_edges(data, backbone.cutoff)
    buckets = []
    for members in size_classes(data.sizes, num_buckets):
        counts = (column[members] for column in (data.sizes, *edges.counts))
        sizes = sizes_for(*counts, graphs=batch_size)
        structures = _Structures(data, members)
        plan = make_plans(backbone.plan_for, structures, sizes.slots)
        # NumPy arrays, because each batch indexes its rows on the host.
        plan = tree_map(np.asarray, plan)
        buckets.append(SizeBucket(members, sizes, backbone.needs_triplets, plan))
    return BatchedDataset(data, buckets, edges)


class _Structures(Sequence[Structure]):
    """The structures of some samples, read when they are used."""

    def __init__(self, data: Dataset, members: np.ndarray):
        self._data, self._members = data, members

    def __len__(self):
        return len(self._members)

    @overload
    def __getitem__(self, index: int) -> Structure: ...

    @overload
    def __getitem__(self, index: slice) -> "_Structures": ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return _Structures(self._data, self._members[index])
        return self._data.samples[int(self._members[index])].structure
