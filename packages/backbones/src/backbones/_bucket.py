"""Buckets: structures of similar size, batched in one shape."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._batch import Batch
from ._neighbors import Neighbors
from ._structure import Structure
from ._triplets import Triplets, find_triplets


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Structures of similar size, from which batches of one shape are made.

    Every batch has at most `graphs` structures of at most `slots` atoms, and at most
    `edges` edges, so a function is compiled once per bucket.
    """

    members: np.ndarray
    """Index of each structure in the sequence that was packed."""
    graphs: int
    """Structures per batch."""
    slots: int
    """Atoms per structure."""
    edges: int
    """Edges per batch."""
    structures: tuple[Structure, ...]
    """The members."""
    pairs: tuple[Neighbors, ...]
    """Neighbors of each member."""
    dtype: np.dtype
    """Of positions, cells and total charges."""
    plan: Any = None
    """The backbone's plan for all members and, last, for a padding graph."""
    triplets: int | None = None
    """Triplets per batch; None for batches without triplets."""

    def __len__(self):
        return len(self.members)

    @property
    def atom_efficiency(self) -> float:
        """Fraction of the slots of an average batch that are atoms."""
        return float(np.mean([len(s) for s in self.structures])) / self.slots

    @property
    def edge_efficiency(self) -> float:
        """Fraction of the edges of an average batch that are not padding."""
        mean = float(np.mean([len(p) for p in self.pairs]))
        return mean * self.graphs / self.edges

    def batch(self, rows: Sequence[int]) -> Batch:
        """Returns the batch of some members, padded to the bucket's shape.

        Args:
            rows: indices into `structures`, at most `graphs` of them.

        Raises:
            ValueError: there are more than `graphs`.
        """
        if len(rows) > self.graphs:
            raise ValueError(
                f"{len(rows)} structures do not fit a batch of {self.graphs} graphs."
            )
        structures = [self.structures[r] for r in rows]
        dense = dense_arrays(structures, self.graphs, self.slots, self.dtype)
        pairs = [self.pairs[r] for r in rows]
        edges = _concatenated_edges(pairs, self)
        triplets = (
            None if self.triplets is None else _concatenated_triplets(pairs, self)
        )
        padding = [len(self)] * (self.graphs - len(rows))
        index = np.array([*rows, *padding])
        plan = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[index]), self.plan
        )
        arrays = {k: None if v is None else jnp.asarray(v) for k, v in dense.items()}
        edges = jax.tree.map(jnp.asarray, edges)
        return Batch(**arrays, **edges, plan=plan, triplets=triplets)


def dense_arrays(structures, graphs: int, slots: int, dtype) -> dict[str, Any]:
    """Returns the per-atom and per-structure arrays of a batch, by field of `Batch`.

    Args:
        structures: all open or all periodic; positions are relative to their `origin`.
        graphs: number of structures, padding included.
        slots: number of atoms per structure, padding included.
        dtype: of positions, cells and total charges.
    """
    species = np.zeros((graphs, slots), np.int32)
    positions = np.zeros((graphs, slots, 3), dtype)
    cells = np.tile(np.eye(3, dtype=dtype), (graphs, 1, 1))
    charge, spin = np.zeros(graphs, dtype), np.zeros(graphs, np.int32)
    for g, s in enumerate(structures):
        species[g, : len(s)] = s.numbers
        positions[g, : len(s)] = s.positions - s.origin
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


def _concatenated_edges(
    pairs: Sequence[Neighbors], bucket: Bucket
) -> dict[str, np.ndarray]:
    """Returns the edges of all structures in one list, by field of `Batch`."""
    last = bucket.graphs * bucket.slots - 1
    senders = np.full(bucket.edges, last, np.int32)
    receivers = np.full(bucket.edges, last, np.int32)
    shifts = np.zeros((bucket.edges, 3), np.int32)
    count = 0
    for g, p in enumerate(pairs):
        rows = slice(count, count + len(p))
        senders[rows] = p.senders + g * bucket.slots
        receivers[rows] = p.receivers + g * bucket.slots
        shifts[rows] = p.shifts
        count += len(p)
    return {
        "senders": senders,
        "receivers": receivers,
        "shifts": shifts,
        "edge_mask": np.arange(bucket.edges) < count,
    }


def _concatenated_triplets(pairs: Sequence[Neighbors], bucket: Bucket) -> Triplets:
    """Returns the triplets of all structures in one list."""
    parts, offset = [], 0
    for p in pairs:
        parts.append(np.stack(find_triplets(p)) + offset)
        offset += len(p)
    real = np.concatenate([np.zeros((2, 0), np.int32), *parts], axis=1)
    padding = np.full((2, bucket.triplets - real.shape[1]), bucket.edges - 1, np.int32)
    both = jnp.asarray(np.concatenate([real, padding], axis=1))
    mask = jnp.arange(bucket.triplets) < real.shape[1]
    return Triplets(both[0], both[1], mask)
