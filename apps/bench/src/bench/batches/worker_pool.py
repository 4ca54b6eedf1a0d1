"""Work on a sequence of inputs by processes that run ahead."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from bench.exceptions import BenchError

_END: Any = object()


def map_ahead[Result](
    work: Callable[[Any], Result],
    inputs: Iterable[Any],
    pool: concurrent.futures.Executor | None,
    depth: int,
) -> Iterator[Result]:
    """Yields the result of each input, in order, while a pool computes later ones.

    Results do not depend on the number of processes. At most `depth` inputs are taken
    ahead, so there may be infinitely many.

    Args:
        work: module-level function, called with each input.
        inputs: values that can be pickled.
        pool: processes; None computes each result in this process when it is due.
        depth: largest number of inputs in the pool.

    Raises:
        BenchError: a process terminated unexpectedly.
    """
    if pool is None:
        yield from map(work, inputs)
        return
    pending: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    remaining = iter(inputs)
    try:
        # Processes take seconds to start and to import the module of `work`; until one
        # has done so, results are computed here.
        has_started = pool.submit(callable, work)
        while not has_started.done():
            item = next(remaining, _END)
            if item is _END:
                return
            yield work(item)
        while True:
            for item in itertools.islice(remaining, depth - len(pending)):
                pending.append(pool.submit(work, item))
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
