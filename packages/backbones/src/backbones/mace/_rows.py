"""The edges of a batch in rows, each of one receiver: sums over neighbours as products.

A sum over a few edges of a row is a small matrix product, which never writes down what
each edge sends; only rows are left to be summed to their receivers.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._batch import Batch

WIDTH = 8
"""Edges of a row: on average half a row an atom is padding."""


def in_rows(batch: Batch, width: int = WIDTH) -> Batch:
    """The batch with the edges of each receiver padded to whole rows of `width`.

    There are as many rows as could ever be needed; their padding joins a node to itself
    and is masked.

    Args:
        batch: with edges sorted by receiver.
        width: edges of a row.
    """
    edges, receivers = rows_of(batch.receivers, batch.graphs * batch.slots, width)
    receivers = jnp.repeat(receivers, width)
    edges = edges.reshape(-1)
    real = edges < len(batch.senders)
    at = jnp.where(real, edges, 0)
    return eqx.tree_at(
        lambda b: (b.senders, b.receivers, b.shifts, b.edge_mask),
        batch,
        (
            jnp.where(real, batch.senders[at], receivers),
            receivers,
            jnp.where(real[:, None], batch.shifts[at], 0),
            real & batch.edge_mask[at],
        ),
    )


def rows_of(
    receivers: Int[Array, " edges"], nodes: int, width: int
) -> tuple[Int[Array, "rows width"], Int[Array, " rows"]]:
    """Which edges stand in each row, and the row's receiver.

    A node with n edges has ceil(n / width) rows, all nodes together at most
    (edges + (width - 1) nodes) / width.

    Args:
        receivers: ascending.
        nodes: number of nodes.
        width: edges of a row.

    Returns:
        Numbers of edges, `len(receivers)` where there is none; receivers, ascending.
    """
    room = (len(receivers) + (width - 1) * nodes) // width
    counts = jnp.bincount(receivers, length=nodes)
    edge_ends = jnp.cumsum(counts)
    needed = -(-counts // width)
    row_ends = jnp.cumsum(needed)
    rows = jnp.arange(room)
    node = jnp.searchsorted(row_ends, rows, side="right")
    used = node < nodes
    node = jnp.minimum(node, nodes - 1)
    within = (rows - (row_ends - needed)[node]) * width
    first = (edge_ends - counts)[node] + within
    edges = first[:, None] + jnp.arange(width)
    real = used[:, None] & (edges < edge_ends[node][:, None])
    return jnp.where(real, edges, len(receivers)), node
