"""Neighbor lists of a dataset.

Those of a small set are cached; worker processes compute those of a large set ahead of
their use.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np
from backbones import Neighbors, Structure, count_triplets, neighbors

from bench.exceptions import BenchError
from bench.execution.workers import Pool, available_cores

LARGE = 1 << 20
"""Number of atoms above which the edges of a dataset are not cached but recomputed by
worker processes. Below, the edges within 4.5 Å take about 1 GB at most."""

BLOCK = 64
"""Structures per task when edges are counted."""


class EdgeCounts(NamedTuple):
    """Numbers of edges and of triplets of each structure, `(structures,)`."""

    edges: np.ndarray
    triplets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Edges:
    """The edges of all structures of a dataset.

    Args:
        structures: returns the structure of an index.
        cutoff: Å.
        counts: of edges, and of triplets (pairs of edges that share an atom).
        cached: the edges of each structure; None where the set is too large.
        pool: processes that compute edges that are not cached; None computes them in
            this process.
    """

    structures: Callable[[int], Structure]
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
        structures = ([self.structures(int(i)) for i in batch] for batch in batches)
        return prefetch_edges(structures, self.cutoff, pool=self.pool)


def find_edges(
    structures: Callable[[int], Structure], sizes: np.ndarray, cutoff: float
) -> Edges:
    """Counts the edges of all structures and caches them if the set is small.

    Args:
        structures: returns the structure of an index.
        sizes: number of atoms of each structure, `(structures,)`.
        cutoff: Å.
    """
    blocks = [range(i, min(i + BLOCK, len(sizes))) for i in range(0, len(sizes), BLOCK)]
    batches = ([structures(i) for i in block] for block in blocks)
    if sizes.sum() <= LARGE:
        lists = prefetch_edges(batches, cutoff)
        cached = list(itertools.chain.from_iterable(lists))
        return Edges(structures, cutoff, _counts(map(_count, cached)), cached)
    pool = edge_pool(available_cores())
    count = functools.partial(_count_batch, cutoff=cutoff)
    pairs = _map_ahead(count, batches, pool, depth=32)
    counts = _counts(itertools.chain.from_iterable(pairs))
    return Edges(structures, cutoff, counts, pool=pool)


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
    return _map_ahead(functools.partial(_edges, cutoff=cutoff), batches, pool, depth)


def _map_ahead[T](
    work: Callable[[Sequence[Structure]], T],
    batches: Iterable[Sequence[Structure]],
    pool: concurrent.futures.Executor | None,
    depth: int,
) -> Iterator[T]:
    if pool is None:
        yield from map(work, batches)
        return
    pending: collections.deque[concurrent.futures.Future[T]] = collections.deque()
    remaining = iter(batches)
    try:
        while True:
            for batch in itertools.islice(remaining, depth - len(pending)):
                pending.append(pool.submit(work, batch))
            if not pending:
                return
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise BenchError(
            "A process that computes neighbor lists terminated unexpectedly, as when "
            "memory runs out: free some memory and run the same command again."
        ) from error
    finally:
        for future in pending:
            future.cancel()


def _edges(batch: Sequence[Structure], cutoff: float) -> list[Neighbors]:
    return [neighbors(s.positions, s.cell, cutoff) for s in batch]


def _count_batch(batch: Sequence[Structure], cutoff: float) -> list[tuple[int, int]]:
    return [_count(pairs) for pairs in _edges(batch, cutoff)]


def _count(pairs: Neighbors) -> tuple[int, int]:
    return len(pairs), count_triplets(pairs)


def _counts(pairs: Iterable[tuple[int, int]]) -> EdgeCounts:
    return EdgeCounts(*np.array(list(pairs), np.int64).reshape(-1, 2).T)
