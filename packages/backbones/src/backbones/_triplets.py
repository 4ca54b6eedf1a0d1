"""Triplets of atoms: pairs of edges that share an atom."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._neighbors import Neighbors, search


class Triplets(eqx.Module):
    """Pairs of an edge k -> j and an edge j -> i other than its reverse.

    Sorted by the edge j -> i. Padding is the last edge with itself and is masked.
    """

    incoming: Int[Array, " triplets"]
    """Index of the edge k -> j."""
    outgoing: Int[Array, " triplets"]
    """Index of the edge j -> i."""
    mask: Bool[Array, " triplets"]
    """False for padding."""


def count_triplets(pairs: Neighbors) -> int:
    """Returns the number of triplets of a neighbor list.

    Each edge that ends at an atom forms a triplet with each edge that starts there,
    except its reverse.

    Args:
        pairs: in both directions.
    """
    degrees = np.bincount(pairs.receivers, minlength=1).astype(np.int64)
    return int(np.sum(degrees**2) - len(pairs))


def count_edges(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    cutoff: float,
) -> tuple[int, int]:
    """Returns the numbers of edges and of triplets of one structure.

    They are those of `neighbors`, in a fraction of its time.

    Args:
        positions: Å.
        cell: lattice vectors as rows, Å; None for open boundaries.
        cutoff: Å.
    """
    (receivers,) = search(positions, cell, cutoff, "i")
    degrees = np.bincount(receivers.astype(np.int64), minlength=1)
    return len(receivers), int(np.sum(degrees**2) - len(receivers))


def find_triplets(pairs: Neighbors) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the edges k -> j and j -> i of all triplets.

    Args:
        pairs: in both directions, sorted by receiver.
    """
    edges = len(pairs)
    atoms = 1 + max(pairs.receivers.max(initial=-1), pairs.senders.max(initial=-1))
    degrees = np.bincount(pairs.receivers, minlength=atoms)
    starts = np.cumsum(degrees) - degrees
    counts = degrees[pairs.senders]
    outgoing = np.repeat(np.arange(edges), counts)
    within = np.arange(len(outgoing)) - np.repeat(np.cumsum(counts) - counts, counts)
    incoming = starts[pairs.senders[outgoing]] + within
    reverse = pairs.senders[incoming] == pairs.receivers[outgoing]
    reverse &= np.all(pairs.shifts[incoming] == -pairs.shifts[outgoing], axis=1)
    return incoming[~reverse].astype(np.int32), outgoing[~reverse].astype(np.int32)


def triplets_within(
    edges: tuple[Int[Array, " edges"], Int[Array, " edges"], Int[Array, "edges 3"]],
    edge_mask: Bool[Array, " edges"],
    atoms: int,
    size: int,
) -> tuple[Triplets, Bool[Array, ""]]:
    """Returns the triplets of traced edges, and whether `size` was large enough.

    Args:
        edges: senders, receivers and shifts, sorted by receiver.
        edge_mask: false on padding, which comes last.
        atoms: number of atoms.
        size: length of the returned arrays; pairs of an edge and its reverse count too.
    """
    senders, receivers, shifts = edges
    degrees = jnp.bincount(jnp.where(edge_mask, receivers, atoms), length=atoms + 1)
    starts = jnp.cumsum(degrees) - degrees
    counts = jnp.where(edge_mask, degrees[senders], 0)
    ends = jnp.cumsum(counts)
    outgoing = jnp.repeat(jnp.arange(len(senders)), counts, total_repeat_length=size)
    within = jnp.arange(size) - (ends - counts)[outgoing]
    real = jnp.arange(size) < ends[-1]
    last = len(senders) - 1
    outgoing = jnp.where(real, outgoing, last)
    incoming = jnp.where(real, starts[senders[outgoing]] + within, last)
    reverse = senders[incoming] == receivers[outgoing]
    reverse &= jnp.all(shifts[incoming] == -shifts[outgoing], axis=1)
    return Triplets(incoming, outgoing, real & ~reverse), ends[-1] <= size
