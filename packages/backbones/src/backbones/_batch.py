"""Batches: atoms in a dense array of slots, edges of all structures in one list."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._triplets import Triplets


class Batch(eqx.Module):
    """Structures padded to fixed sizes, either all periodic or all open.

    Atom `slot` of structure `graph` is node `graph * slots + slot`. Edges are in both
    directions and sorted by receiver; the vector of an edge points from its receiver to
    the image of its sender. Padding edges connect the last node to itself and are
    masked; padding graphs have no atoms and an identity cell.
    """

    species: Int[Array, "graphs slots"]
    """Atomic numbers, 0 on padding."""
    positions: Float[Array, "graphs slots 3"]
    """Relative to the structure's `origin`, Å."""
    mask: Bool[Array, "graphs slots"]
    """True for atoms, false for padding."""
    cell: Float[Array, "graphs 3 3"] | None
    """Lattice vectors as rows, Å; None for open boundaries."""
    total_charge: Float[Array, " graphs"]
    """Total charge of each structure, e."""
    spin: Int[Array, " graphs"]
    """Spin multiplicity, 0 if unknown."""
    senders: Int[Array, " edges"]
    """Node of the neighbor."""
    receivers: Int[Array, " edges"]
    """Node of the central atom, ascending."""
    shifts: Int[Array, "edges 3"]
    """Lattice vectors added to the sender's position, integer multiples."""
    edge_mask: Bool[Array, " edges"]
    """False for padding."""
    plan: Any = None
    """The backbone's plan for these structures, see `Backbone.plan_for`."""
    triplets: Triplets | None = None
    """Pairs of edges, for backbones with `needs_triplets`."""

    @property
    def graphs(self) -> int:
        """Number of structures, padding included."""
        return self.species.shape[0]

    @property
    def slots(self) -> int:
        """Number of atoms of each structure, padding included."""
        return self.species.shape[1]

    def edge_vectors(self, padding_length: float) -> Float[Array, "edges 3"]:
        """Returns the vectors from each receiver to its sender's image, Å.

        Args:
            padding_length: length of the constant vector of padding edges, Å; positive,
                to avoid divisions by zero.
        """
        positions = self.positions.reshape(-1, 3)
        vectors = positions[self.senders] - positions[self.receivers]
        if self.cell is not None:
            cells = self.cell[self.receivers // self.slots]
            shifts = self.shifts.astype(positions.dtype)
            # Reduced-precision matrix products would break the invariances.
            vectors = vectors + jnp.einsum(
                "ea,eab->eb", shifts, cells, precision=jax.lax.Precision.HIGHEST
            )
        padding = jnp.array([padding_length, 0.0, 0.0], positions.dtype)
        return jnp.where(self.edge_mask[:, None], vectors, padding)
