"""From structures of many sizes to batches of a few fixed shapes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._bucket import Bucket, dense_arrays
from ._neighbors import neighbors
from ._structure import Structure
from ._triplets import count_triplets


class PaddedSizes(NamedTuple):
    """Sizes that a batch has at least, to share one shape with others."""

    graphs: int = 1
    slots: int = 1
    edges: int = 1
    triplets: int = 1


def pack(
    structures: Sequence[Structure],
    *,
    cutoff: float,
    graphs: int,
    buckets: int = 1,
    plan_for: Callable[[Any, Any, Any], Any] | None = None,
    triplets: bool = False,
    min_sizes: PaddedSizes | None = None,
    dtype: Any = np.float32,
) -> list[Bucket]:
    """Sorts structures into buckets by size and finds their neighbours.

    Args:
        structures: all open or all periodic.
        cutoff: Å.
        graphs: structures a batch.
        buckets: how many shapes at most.
        plan_for: the backbone's, called once a bucket.
        triplets: the backbone's `needs_triplets`.
        min_sizes: sizes that every bucket has at min_sizes.
        dtype: of positions and cells on the device.

    Raises:
        ValueError: no structures, or open and periodic ones together.
    """
    if not structures:
        raise ValueError("There are no structures to pack.")
    periodic = {s.cell is not None for s in structures}
    if len(periodic) > 1:
        raise ValueError(
            "Open and periodic structures cannot share a batch: pack them separately."
        )
    sizes = np.array([len(s) for s in structures])
    found = []
    for members in size_classes(sizes, buckets):
        chosen = tuple(structures[m] for m in members)
        pairs = tuple(neighbors(s, cutoff) for s in chosen)
        shape = sizes_for(
            sizes[members],
            np.array([len(p) for p in pairs]),
            np.array([count_triplets(p) for p in pairs]),
            graphs=graphs,
            min_sizes=min_sizes,
        )
        plan = None if plan_for is None else make_plans(plan_for, chosen, shape.slots)
        found.append(
            Bucket(
                members,
                *shape[:3],
                structures=chosen,
                pairs=pairs,
                dtype=np.dtype(dtype),
                plan=plan,
                triplets=shape.triplets if triplets else None,
            )
        )
    return found


def size_classes(sizes: np.ndarray, count: int) -> list[np.ndarray]:
    """At most `count` classes of consecutive sizes with the least padding together.

    Args:
        sizes: atoms of each structure, shape `(structures,)`.
        count: how many classes at most.

    Returns:
        Indices of each class, ascending; together all structures.
    """
    distinct, of = np.unique(sizes, return_inverse=True)
    totals = np.concatenate([[0], np.cumsum(np.bincount(of))])
    # best[k][j]: least slots for the j smallest distinct sizes in k classes.
    best = np.full((count + 1, len(distinct) + 1), np.inf)
    cut = np.zeros((count + 1, len(distinct) + 1), int)
    best[:, 0] = 0
    for k in range(1, count + 1):
        for j in range(1, len(distinct) + 1):
            cost = best[k - 1, :j] + (totals[j] - totals[:j]) * distinct[j - 1]
            cut[k, j] = np.argmin(cost)
            best[k, j] = cost[cut[k, j]]
    classes, j = [], len(distinct)
    for k in range(count, 0, -1):
        start = cut[k, j]
        if start < j:
            classes.append(np.flatnonzero((of >= start) & (of < j)))
        j = start
    return classes[::-1]


def sizes_for(
    sizes: np.ndarray,
    edges: np.ndarray,
    triplets: np.ndarray,
    *,
    graphs: int,
    min_sizes: PaddedSizes | None = None,
) -> PaddedSizes:
    """Returns sizes that hold the largest structures of a set in one batch.

    Args:
        sizes: atoms of each structure, `(structures,)`.
        edges: of each structure.
        triplets: of each structure, see `count_triplets`.
        graphs: structures a batch, if there are so many.
        min_sizes: sizes that the batch has at min_sizes.
    """
    min_sizes = PaddedSizes() if min_sizes is None else min_sizes
    graphs = min(graphs, len(sizes))
    most = lambda counts: int(np.sort(counts)[-graphs:].sum())
    rounded = lambda count: -(-count // 64) * 64
    return PaddedSizes(
        graphs=max(graphs, min_sizes.graphs),
        slots=max(min_sizes.slots, int(np.max(sizes))),
        edges=rounded(max(min_sizes.edges, most(edges))),
        triplets=rounded(max(min_sizes.triplets, most(triplets))),
    )


def make_plans(
    plan_for: Callable[[Any, Any, Any], Any],
    structures: Sequence[Structure],
    slots: int,
) -> Any:
    """The plan for all structures and, last, one of padding.

    Args:
        plan_for: the backbone's.
        structures: all open or all periodic.
        slots: atoms of the largest, at min_sizes.
    """
    everyone = dense_arrays(
        structures, len(structures) + 1, slots, np.dtype(np.float64)
    )
    return plan_for(everyone["cell"], everyone["positions"], everyone["mask"])
