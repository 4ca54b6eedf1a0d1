"""Neighbours of structures: kept for small sets, found ahead by processes for large."""

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
"""Atoms of a data set from which edges are found anew each time they are needed, by
other processes; those of fewer atoms take about 1 GB at most within 4.5 Å."""

BLOCK = 64
"""Structures that are counted together."""


class EdgeCounts(NamedTuple):
    """How much room the edges of each structure need, `(structures,)`."""

    edges: np.ndarray
    triplets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Edges:
    """The edges of all structures of a data set.

    Args:
        structures: of the set, by index.
        cutoff: Å.
        counts: of edges, and of pairs of them that meet in an atom.
        kept: the edges themselves, where the set is small enough.
        pool: processes that find them otherwise; None finds them in this one.
    """

    structures: Callable[[int], Structure]
    cutoff: float
    counts: EdgeCounts
    kept: Sequence[Neighbors] | None = None
    pool: concurrent.futures.Executor | None = None

    def of(self, batches: Iterable[np.ndarray]) -> Iterator[list[Neighbors]]:
        """The edges of each batch in turn, while those of later ones are being found.

        Args:
            batches: indices of structures.
        """
        kept = self.kept
        if kept is not None:
            return ([kept[i] for i in batch] for batch in batches)
        chosen = ([self.structures(int(i)) for i in batch] for batch in batches)
        return prefetch_edges(chosen, self.cutoff, pool=self.pool)


def find_edges(
    structures: Callable[[int], Structure], sizes: np.ndarray, cutoff: float
) -> Edges:
    """Counts the edges of all structures, and keeps them where they are few.

    Args:
        structures: of the set, by index.
        sizes: atoms of each structure, `(structures,)`.
        cutoff: Å.
    """
    blocks = [range(i, min(i + BLOCK, len(sizes))) for i in range(0, len(sizes), BLOCK)]
    batches = ([structures(i) for i in block] for block in blocks)
    if sizes.sum() <= LARGE:
        kept = [p for found in prefetch_edges(batches, cutoff) for p in found]
        return Edges(structures, cutoff, _counts(map(_count, kept)), kept)
    pool = edge_pool(available_cores())
    found = _ahead(functools.partial(_counted, cutoff=cutoff), batches, pool, 32)
    counts = _counts(itertools.chain.from_iterable(found))
    return Edges(structures, cutoff, counts, pool=pool)


def edge_pool(workers: int) -> concurrent.futures.Executor:
    """Processes that find edges; they end with the pool.

    Args:
        workers: how many.
    """
    return Pool(workers)


def prefetch_edges(
    batches: Iterable[Sequence[Structure]],
    cutoff: float,
    *,
    pool: concurrent.futures.Executor | None = None,
    depth: int = 8,
) -> Iterator[list[Neighbors]]:
    """The neighbours of each batch in turn, while later batches are being worked on.

    Results do not depend on the number of processes. No more than `depth` batches are
    taken ahead, so that `batches` may be as long as it likes.

    Args:
        batches: structures that are asked for together.
        cutoff: Å.
        pool: processes; None works in this one and ahead of nothing.
        depth: batches in flight.

    Raises:
        ValueError: the cutoff is not positive.
        BenchError: a process ended without a word.
    """
    return _ahead(functools.partial(_edges, cutoff=cutoff), batches, pool, depth)


def _ahead[T](
    work: Callable[[Sequence[Structure]], T],
    batches: Iterable[Sequence[Structure]],
    pool: concurrent.futures.Executor | None,
    depth: int,
) -> Iterator[T]:
    if pool is None:
        yield from map(work, batches)
        return
    waiting: collections.deque[concurrent.futures.Future[T]] = collections.deque()
    coming = iter(batches)
    try:
        while True:
            for batch in itertools.islice(coming, depth - len(waiting)):
                waiting.append(pool.submit(work, batch))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise BenchError(
            "A process that finds neighbours ended without a word, as too little "
            "memory makes it: free some, and run the same command again."
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _edges(batch: Sequence[Structure], cutoff: float) -> list[Neighbors]:
    return [neighbors(structure, cutoff) for structure in batch]


def _counted(batch: Sequence[Structure], cutoff: float) -> list[tuple[int, int]]:
    return [_count(pairs) for pairs in _edges(batch, cutoff)]


def _count(pairs: Neighbors) -> tuple[int, int]:
    return len(pairs), count_triplets(pairs)


def _counts(found: Iterable[tuple[int, int]]) -> EdgeCounts:
    return EdgeCounts(*np.array(list(found), np.int64).reshape(-1, 2).T)
