"""Neighbor lists of a dataset.

Those of a small set are cached; worker processes compute those of a large set ahead of
their use.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from backbones import Neighbors, Structure, count_triplets, neighbors

from bench.batches.edge_counts import EdgeCounts, load_edge_counts
from bench.batches.worker_pool import map_ahead
from bench.dataset.opening import Dataset
from bench.execution.workers import Pool, available_cores

LARGE = 1 << 20
"""Number of atoms above which the edges of a dataset are not cached but recomputed by
worker processes. Below, the edges within 4.5 Å take about 1 GB at most."""


@dataclasses.dataclass(frozen=True)
class Edges:
    """The edges of all structures of a dataset.

    Args:
        data: the dataset.
        cutoff: Å.
        counts: of edges, and of triplets (pairs of edges that share an atom).
        cached: the edges of each structure; None where the set is too large.
        pool: processes that compute edges that are not cached; None computes them in
            this process.
    """

    data: Dataset
    cutoff: float
    counts: EdgeCounts
    cached: Sequence[Neighbors] | None = None
    pool: concurrent.futures.Executor | None = None

    def for_batches(self, batches: Iterable[np.ndarray]) -> Iterator[list[Neighbors]]:
        """Yields the edges of each batch, computing those of later batches ahead.

        Args:
            batches: indices of structures.
        """
        cached = self.cached
        if cached is not None:
            return ([cached[i] for i in batch] for batch in batches)
        samples = self.data.samples
        structures = ([samples[int(i)].structure for i in batch] for batch in batches)
        return prefetch_edges(structures, self.cutoff, pool=self.pool)


def find_edges(data: Dataset, cutoff: float) -> Edges:
    """Counts the edges of all samples, and caches them if the set is small.

    Args:
        data: dataset.
        cutoff: Å.
    """
    if data.sizes.sum() > LARGE:
        pool = edge_pool(available_cores())
        return Edges(data, cutoff, load_edge_counts(data, cutoff, pool), pool=pool)
    structures = [sample.structure for sample in data.samples]
    cached = _edges(structures, cutoff)
    counts = np.array([(len(p), count_triplets(p)) for p in cached], np.int64)
    return Edges(data, cutoff, EdgeCounts(*counts.reshape(-1, 2).T), cached)


def edge_pool(workers: int) -> concurrent.futures.Executor:
    """Returns a pool of processes that compute edges.

    Args:
        workers: number of processes.
    """
    return Pool(workers)


def prefetch_edges(
    batches: Iterable[Sequence[Structure]],
    cutoff: float,
    *,
    pool: concurrent.futures.Executor | None = None,
    depth: int = 8,
) -> Iterator[list[Neighbors]]:
    """Yields the edges of each batch while worker processes compute later ones.

    Results do not depend on the number of processes. At most `depth` batches are taken
    ahead, so `batches` may be infinite.

    Args:
        batches: structures of each batch.
        cutoff: Å.
        pool: processes; None computes each batch in this process when it is due.
        depth: largest number of batches in flight.

    Raises:
        ValueError: the cutoff is not positive.
        BenchError: a process terminated unexpectedly.
    """
    return map_ahead(functools.partial(_edges, cutoff=cutoff), batches, pool, depth)


def _edges(batch: Sequence[Structure], cutoff: float) -> list[Neighbors]:
    return [neighbors(s.positions, s.cell, cutoff) for s in batch]
