"""Packing of structures of different sizes into buckets of few fixed shapes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ._bucket import Bucket
from ._make_batch import PaddedSizes, dense_arrays
from ._neighbors import neighbors
from ._structure import Structure
from ._triplets import count_triplets


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
    """Sorts structures into buckets by size and searches their neighbors.

    Args:
        structures: all open or all periodic.
        cutoff: of the edges, Å.
        graphs: number of structures per batch.
        buckets: largest number of buckets.
        plan_for: method of the backbone, called once per bucket; None for batches
            without a plan.
        triplets: whether batches have triplets, see `Backbone.needs_triplets`.
        min_sizes: smallest sizes of the batches; None for no lower limit.
        dtype: of positions, cells and total charges on the device.

    Raises:
        ValueError: there are no structures, or both open and periodic ones.
    """
    if not structures:
        raise ValueError("There are no structures to pack: `structures` is empty.")
    periodic = {s.cell is not None for s in structures}
    if len(periodic) > 1:
        raise ValueError(
            "Open and periodic structures cannot share a batch: pack them separately."
        )
    sizes = np.array([len(s) for s in structures])
    packed = []
    for members in size_classes(sizes, buckets):
        bucket = tuple(structures[m] for m in members)
        pairs = tuple(neighbors(s.positions, s.cell, cutoff) for s in bucket)
        padded = sizes_for(
            sizes[members],
            np.array([len(p) for p in pairs]),
            np.array([count_triplets(p) for p in pairs]),
            graphs=graphs,
            min_sizes=min_sizes,
        )
        plan = None if plan_for is None else make_plans(plan_for, bucket, padded.slots)
        packed.append(
            Bucket(
                members,
                padded,
                structures=bucket,
                pairs=pairs,
                dtype=np.dtype(dtype),
                plan=plan,
                has_triplets=triplets,
            )
        )
    return packed


def size_classes(sizes: np.ndarray, count: int) -> list[np.ndarray]:
    """Partitions structures by size so that batches have the least padding.

    Args:
        sizes: number of atoms of each structure, shape `(structures,)`.
        count: largest number of classes.

    Returns:
        Indices of the structures of each class, ascending.
    """
    distinct, ranks = np.unique(sizes, return_inverse=True)
    totals = np.concatenate([[0], np.cumsum(np.bincount(ranks))])
    # best[k, j]: least number of slots for the j smallest distinct sizes in k classes;
    # cut[k, j]: the first size of the last of these classes.
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
            classes.append(np.flatnonzero((ranks >= start) & (ranks < j)))
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
    """Returns the sizes of batches that any structures of a set fit into.

    Args:
        sizes: number of atoms of each structure, `(structures,)`.
        edges: number of edges of each structure, `(structures,)`.
        triplets: number of triplets of each structure, `(structures,)`, see
            `count_triplets`.
        graphs: number of structures per batch.
        min_sizes: smallest sizes; None for no lower limit.
    """
    min_sizes = PaddedSizes() if min_sizes is None else min_sizes
    graphs = min(graphs, len(sizes))
    largest = lambda counts: int(np.sort(counts)[-graphs:].sum())
    rounded = lambda count: -(-count // 64) * 64
    return PaddedSizes(
        graphs=max(graphs, min_sizes.graphs),
        slots=max(min_sizes.slots, int(np.max(sizes))),
        edges=rounded(max(min_sizes.edges, largest(edges))),
        triplets=rounded(max(min_sizes.triplets, largest(triplets))),
    )


def make_plans(
    plan_for: Callable[[Any, Any, Any], Any],
    structures: Sequence[Structure],
    slots: int,
) -> Any:
    """Returns the plan for all structures and, last, for a padding graph.

    If the plan of the first structure is empty, so is that of all: whether a layer
    needs a plan depends on the boundaries and on the number of slots only.

    Args:
        plan_for: method of the backbone, see `LongRange.plan_for`.
        structures: all open or all periodic.
        slots: number of atoms per structure, padding included.
    """

    def plan_of(part: Sequence[Structure]) -> Any:
        arrays = dense_arrays(part, len(part) + 1, slots, np.dtype(np.float64))
        return plan_for(arrays["cell"], arrays["positions"], arrays["mask"])

    first = plan_of([structures[0]])
    if len(structures) == 1 or not jax.tree.leaves(first):
        return first
    return plan_of(structures)
