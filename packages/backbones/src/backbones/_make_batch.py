"""Batches made from structures and their edges."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._batch import Batch
from ._neighbors import Neighbors
from ._structure import Structure
from ._triplets import Triplets, find_triplets


class PaddedSizes(NamedTuple):
    """Sizes of a batch, padding included."""

    graphs: int = 1
    """Structures."""
    slots: int = 1
    """Atoms per structure."""
    edges: int = 1
    """Edges of all structures."""
    triplets: int = 1
    """Triplets of all structures."""


def make_batch(
    structures: Sequence[Structure],
    pairs: Sequence[Neighbors],
    sizes: PaddedSizes,
    plan: Any = None,
    *,
    triplets: bool = False,
    dtype: Any = np.float32,
) -> Batch:
    """Returns the batch of some structures, padded to fixed sizes.

    Args:
        structures: all open or all periodic, at most `sizes.graphs` of them.
        pairs: neighbors of each structure.
        sizes: of the batch; those of `triplets` only if there are any.
        plan: of the backbone for all graphs, padding included; None without a plan.
        triplets: whether the batch has triplets, see `Backbone.needs_triplets`.
        dtype: of positions, cells and total charges.

    Raises:
        ValueError: the structures do not fit, or are both open and periodic.

    Examples:
        >>> edges = neighbors(salt.positions, salt.cell, mace.cutoff)
        >>> sizes = PaddedSizes(graphs=1, slots=len(salt), edges=len(edges))
        >>> mace(make_batch([salt], [edges], sizes))
    """
    _check_sizes(structures, pairs, sizes)
    dense = dense_arrays(structures, sizes.graphs, sizes.slots, np.dtype(dtype))
    edges = _concatenated_edges(pairs, sizes)
    triplet_list = _concatenated_triplets(pairs, sizes) if triplets else None
    arrays = {k: None if v is None else jnp.asarray(v) for k, v in dense.items()}
    edges = jax.tree.map(jnp.asarray, edges)
    plan = jax.tree.map(jnp.asarray, plan)
    return Batch(**arrays, **edges, plan=plan, triplets=triplet_list)


def take_plan(plan: Any, rows: Sequence[int] | np.ndarray, graphs: int) -> Any:
    """Returns the plan of a batch of some structures, as NumPy arrays.

    Args:
        plan: of the backbone for all structures and, last, for a padding graph.
        rows: indices of the structures of the batch.
        graphs: number of structures of the batch, padding included.
    """
    index = np.array([*rows, *[-1] * (graphs - len(rows))], int)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], plan)


def _check_sizes(structures, pairs, sizes: PaddedSizes) -> None:
    if len(structures) > sizes.graphs:
        raise ValueError(
            f"{len(structures)} structures do not fit a batch of {sizes.graphs} graphs."
        )
    if len(pairs) != len(structures):
        raise ValueError(
            f"There are {len(structures)} structures, but neighbors of {len(pairs)}."
        )
    atoms, edges = max(map(len, structures), default=0), sum(map(len, pairs))
    if atoms > sizes.slots or edges > sizes.edges:
        raise ValueError(
            f"Structures of up to {atoms} atoms with {edges} edges in all do not fit "
            f"{sizes.slots} slots and {sizes.edges} edges: choose larger `sizes`, see "
            "`sizes_for`."
        )
    if len({s.cell is None for s in structures}) > 1:
        raise ValueError(
            "Open and periodic structures cannot share a batch: make two batches."
        )


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
    pairs: Sequence[Neighbors], sizes: PaddedSizes
) -> dict[str, np.ndarray]:
    """Returns the edges of all structures in one list, by field of `Batch`."""
    last = sizes.graphs * sizes.slots - 1
    senders = np.full(sizes.edges, last, np.int32)
    receivers = np.full(sizes.edges, last, np.int32)
    shifts = np.zeros((sizes.edges, 3), np.int32)
    count = 0
    for g, p in enumerate(pairs):
        rows = slice(count, count + len(p))
        senders[rows] = p.senders + g * sizes.slots
        receivers[rows] = p.receivers + g * sizes.slots
        shifts[rows] = p.shifts
        count += len(p)
    return {
        "senders": senders,
        "receivers": receivers,
        "shifts": shifts,
        "edge_mask": np.arange(sizes.edges) < count,
    }


def _concatenated_triplets(pairs: Sequence[Neighbors], sizes: PaddedSizes) -> Triplets:
    """Returns the triplets of all structures in one list."""
    parts, offset = [], 0
    for p in pairs:
        parts.append(np.stack(find_triplets(p)) + offset)
        offset += len(p)
    real = np.concatenate([np.zeros((2, 0), np.int32), *parts], axis=1)
    if real.shape[1] > sizes.triplets:
        raise ValueError(
            f"{real.shape[1]} triplets do not fit a batch of {sizes.triplets}: choose "
            "larger `sizes`, see `sizes_for`."
        )
    padding = np.full((2, sizes.triplets - real.shape[1]), sizes.edges - 1, np.int32)
    both = jnp.asarray(np.concatenate([real, padding], axis=1))
    mask = jnp.arange(sizes.triplets) < real.shape[1]
    return Triplets(both[0], both[1], mask)
