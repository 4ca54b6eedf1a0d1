"""Generators that run ahead in a background thread."""

import collections
import concurrent.futures
from collections.abc import Generator, Iterator
from typing import Any

_END: Any = object()


def prefetch[T](items: Generator[T, None, None], depth: int = 2) -> Iterator[T]:
    """Yields the items of a generator in order while a thread computes the next ones.

    Args:
        items: generator; closed together with the returned iterator.
        depth: largest number of items computed ahead.

    Raises:
        Exception: an exception of `items`, after the items before it.
    """
    pending: collections.deque[concurrent.futures.Future[T]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
    try:
        while True:
            while len(pending) < depth:
                pending.append(pool.submit(next, items, _END))
            item = pending.popleft().result()
            if item is _END:
                return
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
