"""Neighbours of structures, found by other processes ahead of the one that trains."""

import collections
import concurrent.futures
import itertools
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence

from backbones import Neighbours, Structure, neighbours


def edges_ahead(
    batches: Iterable[Sequence[Structure]],
    cutoff: float,
    *,
    workers: int = 0,
    depth: int = 4,
) -> Iterator[list[Neighbours]]:
    """The neighbours of each batch in turn, while later batches are being worked on.

    Results do not depend on the number of processes. No more than `depth` batches are
    taken ahead, so that `batches` may be as long as it likes.

    Args:
        batches: structures that are asked for together.
        cutoff: Å.
        workers: processes; 0 works in this one and ahead of nothing.
        depth: batches in flight.

    Raises:
        ValueError: the cutoff is not positive.
    """
    if workers == 0:
        for batch in batches:
            yield _edges(batch, cutoff)
        return
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    coming = iter(batches)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn")
    )
    try:
        while True:
            for batch in itertools.islice(coming, depth - len(waiting)):
                waiting.append(pool.submit(_edges, batch, cutoff))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _edges(batch: Sequence[Structure], cutoff: float) -> list[Neighbours]:
    return [neighbours(structure, cutoff) for structure in batch]
