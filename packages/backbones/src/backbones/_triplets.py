"""Pairs of edges that meet in an atom, found on the host."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ._neighbors import Neighbors


class Triplets(eqx.Module):
    """Edges k -> j that end where edges j -> i start, but for the reverse of j -> i.

    Sorted by the outgoing edge. Padding joins the last edge to itself and is masked.
    """

    incoming: Int[Array, " triplets"]
    """The edge k -> j."""
    outgoing: Int[Array, " triplets"]
    """The edge j -> i."""
    mask: Bool[Array, " triplets"]


def count_triplets(pairs: Neighbors) -> int:
    """How many triplets these edges form, without building them.

    Every edge that ends in an atom meets every one that starts there, but for its own
    reverse.
    """
    degrees = np.bincount(pairs.receivers, minlength=1).astype(np.int64)
    return int(np.sum(degrees**2) - len(pairs))


def find_triplets(pairs: Neighbors) -> tuple[np.ndarray, np.ndarray]:
    """Incoming and outgoing edge of every triplet, sorted by the outgoing one.

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
    back = pairs.senders[incoming] == pairs.receivers[outgoing]
    back &= np.all(pairs.shifts[incoming] == -pairs.shifts[outgoing], axis=1)
    return incoming[~back].astype(np.int32), outgoing[~back].astype(np.int32)


def triplets_within(
    edges: tuple[Int[Array, " edges"], Int[Array, " edges"], Int[Array, "edges 3"]],
    edge_mask: Bool[Array, " edges"],
    atoms: int,
    room: int,
) -> tuple[Triplets, Bool[Array, ""]]:
    """The triplets of traced edges, and whether there was room for all.

    Args:
        edges: senders, receivers and shifts, sorted by receiver.
        edge_mask: false on padding, which comes last.
        atoms: number of atoms.
        room: number of triplets found at most, each edge's reverse among them.
    """
    senders, receivers, shifts = edges
    degrees = jnp.bincount(jnp.where(edge_mask, receivers, atoms), length=atoms + 1)
    starts = jnp.cumsum(degrees) - degrees
    counts = jnp.where(edge_mask, degrees[senders], 0)
    ends = jnp.cumsum(counts)
    outgoing = jnp.repeat(jnp.arange(len(senders)), counts, total_repeat_length=room)
    within = jnp.arange(room) - (ends - counts)[outgoing]
    real = jnp.arange(room) < ends[-1]
    last = len(senders) - 1
    outgoing = jnp.where(real, outgoing, last)
    incoming = jnp.where(real, starts[senders[outgoing]] + within, last)
    back = senders[incoming] == receivers[outgoing]
    back &= jnp.all(shifts[incoming] == -shifts[outgoing], axis=1)
    return Triplets(incoming, outgoing, real & ~back), ends[-1] <= room
