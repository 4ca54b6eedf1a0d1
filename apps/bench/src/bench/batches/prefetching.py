"""Making the next items while one is being used."""

import collections
import concurrent.futures
from collections.abc import Generator, Iterator
from typing import Any

_END: Any = object()


def prefetch[T](items: Generator[T, None, None], depth: int = 2) -> Iterator[T]:
    """The items of a generator, made by a thread of its own, in their order.

    Args:
        items: closed with the iterator that is returned.
        depth: items made ahead at most.

    Raises:
        Exception: whatever `items` raises, when its turn comes.
    """
    waiting: collections.deque[concurrent.futures.Future[T]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
    try:
        while True:
            while len(waiting) < depth:
                waiting.append(pool.submit(next, items, _END))
            item = waiting.popleft().result()
            if item is _END:
                return
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
