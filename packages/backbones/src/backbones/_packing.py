"""From structures of many sizes to batches of a few fixed shapes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._batch import Batch
from ._neighbours import Neighbours, neighbours
from ._structure import Structure


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Structures of similar size, from which batches of one shape are taken.

    Every batch holds `graphs` structures of at most `slots` atoms and `edges` edges
    together, so a compiled function meets one shape a bucket.
    """

    members: np.ndarray
    """Index of each structure in the sequence that was packed."""
    graphs: int
    slots: int
    edges: int
    structures: tuple[Structure, ...]
    pairs: tuple[Neighbours, ...]
    dtype: np.dtype
    plan: Any = None
    """The backbone's plan for all members and, last, for a padding structure."""

    def __len__(self):
        return len(self.members)

    @property
    def atom_efficiency(self) -> float:
        """Share of the slots of an average batch that hold an atom."""
        return float(np.mean([len(s) for s in self.structures])) / self.slots

    @property
    def edge_efficiency(self) -> float:
        """Share of the edges of an average batch that are real."""
        mean = float(np.mean([len(p) for p in self.pairs]))
        return mean * self.graphs / self.edges

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of some members, padded to the bucket's shape.

        Args:
            rows: positions within `members`, at most `graphs` of them.
        """
        if len(rows) > self.graphs:
            raise ValueError(
                f"{len(rows)} structures do not fit a batch of {self.graphs} graphs."
            )
        chosen = [self.structures[r] for r in rows]
        dense = _dense(chosen, self.graphs, self.slots, self.dtype)
        edges = _pooled([self.pairs[r] for r in rows], self)
        padding = [len(self)] * (self.graphs - len(rows))
        index = np.array([*rows, *padding])
        plan = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[index]), self.plan
        )
        arrays = {k: None if v is None else jnp.asarray(v) for k, v in dense.items()}
        return Batch(**arrays, **jax.tree.map(jnp.asarray, edges), plan=plan)


def pack(
    structures: Sequence[Structure],
    *,
    cutoff: float,
    graphs: int,
    buckets: int = 1,
    plan_for: Callable[[Any, Any, Any], Any] | None = None,
    dtype: Any = np.float32,
) -> list[Bucket]:
    """Sorts structures into buckets by size and finds their neighbours.

    Args:
        structures: all open or all periodic.
        cutoff: Å.
        graphs: structures a batch.
        buckets: how many shapes at most.
        plan_for: the backbone's, called once a bucket.
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
    return [
        _bucket(structures, members, cutoff, graphs, plan_for, np.dtype(dtype))
        for members in size_classes(sizes, buckets)
    ]


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


def _bucket(structures, members, cutoff, graphs, plan_for, dtype) -> Bucket:
    chosen = tuple(structures[m] for m in members)
    pairs = tuple(neighbours(s, cutoff) for s in chosen)
    slots = max(len(s) for s in chosen)
    graphs = min(graphs, len(chosen))
    # Room for the densest structures meeting in one batch, so nothing ever overflows.
    edges = int(np.sort([len(p) for p in pairs])[-graphs:].sum())
    edges = max(64, -(-edges // 64) * 64)
    plan = None
    if plan_for is not None:
        everyone = _dense(chosen, len(chosen) + 1, slots, np.dtype(np.float64))
        plan = plan_for(everyone["cell"], everyone["positions"], everyone["mask"])
    return Bucket(members, graphs, slots, edges, chosen, pairs, dtype, plan)


def _dense(structures, graphs: int, slots: int, dtype) -> dict[str, Any]:
    """Per-atom and per-structure arrays; rows past the structures are padding."""
    species = np.zeros((graphs, slots), np.int32)
    positions = np.zeros((graphs, slots, 3), dtype)
    cells = np.tile(np.eye(3, dtype=dtype), (graphs, 1, 1))
    charge, spin = np.zeros(graphs, dtype), np.zeros(graphs, np.int32)
    for g, s in enumerate(structures):
        species[g, : len(s)] = s.numbers
        positions[g, : len(s)] = s.positions
        charge[g], spin[g] = s.total_charge, s.spin
        if s.cell is not None:
            cells[g] = s.cell
    periodic = bool(structures) and structures[0].cell is not None
    return {
        "species": species,
        "positions": positions,
        "mask": species > 0,
        "cell": cells if periodic else None,
        "total_charge": charge,
        "spin": spin,
    }


def _pooled(pairs: Sequence[Neighbours], bucket: Bucket) -> dict[str, np.ndarray]:
    """Edges of all structures in one list; the rest joins the last node to itself."""
    last = bucket.graphs * bucket.slots - 1
    senders = np.full(bucket.edges, last, np.int32)
    receivers = np.full(bucket.edges, last, np.int32)
    shifts = np.zeros((bucket.edges, 3), np.int32)
    at = 0
    for g, p in enumerate(pairs):
        here = slice(at, at + len(p))
        senders[here] = p.senders + g * bucket.slots
        receivers[here] = p.receivers + g * bucket.slots
        shifts[here] = p.shifts
        at += len(p)
    return {
        "senders": senders,
        "receivers": receivers,
        "shifts": shifts,
        "edge_mask": np.arange(bucket.edges) < at,
    }
