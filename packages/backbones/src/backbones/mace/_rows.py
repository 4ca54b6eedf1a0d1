"""Edges in rows of fixed length with one receiver each.

The sum over the edges of a row is a small matrix product, without the message of each
edge in memory. Only the sums of rows remain to be added to their receivers.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._batch import Batch

ROW_LENGTH = 8
"""Edges per row; on average half a row per atom is padding."""


def pad_to_rows(batch: Batch, length: int = ROW_LENGTH) -> Batch:
    """Returns the batch with the edges of each receiver padded to complete rows.

    The number of rows is the largest that this number of edges can need. Padding edges
    connect a node to itself and are masked.

    Args:
        batch: with edges sorted by receiver.
        length: edges per row.
    """
    edges, receivers = row_indices(batch.receivers, batch.graphs * batch.slots, length)
    receivers = jnp.repeat(receivers, length)
    edges = edges.reshape(-1)
    real = edges < len(batch.senders)
    index = jnp.where(real, edges, 0)
    return eqx.tree_at(
        lambda b: (b.senders, b.receivers, b.shifts, b.edge_mask),
        batch,
        (
            jnp.where(real, batch.senders[index], receivers),
            receivers,
            jnp.where(real[:, None], batch.shifts[index], 0),
            real & batch.edge_mask[index],
        ),
    )


def row_indices(
    receivers: Int[Array, " edges"], nodes: int, length: int
) -> tuple[Int[Array, "rows length"], Int[Array, " rows"]]:
    """Returns the indices of the edges of each row, and the receiver of the row.

    A node with n edges has ceil(n / length) rows; together they have at most
    (edges + (length - 1) nodes) / length.

    Args:
        receivers: of the edges, ascending.
        nodes: number of nodes.
        length: edges per row.

    Returns:
        Indices of edges, `len(receivers)` on padding; receivers, ascending.
    """
    count = (len(receivers) + (length - 1) * nodes) // length
    counts = jnp.bincount(receivers, length=nodes)
    edge_ends = jnp.cumsum(counts)
    rows_per_node = -(-counts // length)
    row_ends = jnp.cumsum(rows_per_node)
    rows = jnp.arange(count)
    node = jnp.searchsorted(row_ends, rows, side="right")
    used = node < nodes
    node = jnp.minimum(node, nodes - 1)
    offset = (rows - (row_ends - rows_per_node)[node]) * length
    first = (edge_ends - counts)[node] + offset
    edges = first[:, None] + jnp.arange(length)
    real = used[:, None] & (edges < edge_ends[node][:, None])
    return jnp.where(real, edges, len(receivers)), node
