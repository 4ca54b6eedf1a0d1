"""The batch a backbone works on: atoms in dense slots, edges pooled."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._triplets import Triplets


class Batch(eqx.Module):
    """Structures of one boundary kind, padded to fixed sizes.

    Atom `slot` of structure `graph` is node `graph * slots + slot`. Edges list both
    directions, sorted by receiver; the vector of an edge points from its receiver to
    its sender's image. Padding edges join the last node to itself and are masked;
    padding graphs have no atoms and an identity cell.
    """

    species: Int[Array, "graphs slots"]
    """Atomic numbers, 0 on padding."""
    positions: Float[Array, "graphs slots 3"]
    """From the structure's `origin`, Å."""
    mask: Bool[Array, "graphs slots"]
    """True where there is an atom."""
    cell: Float[Array, "graphs 3 3"] | None
    """Lattice vectors as rows, Å; None means open boundaries for all."""
    total_charge: Float[Array, " graphs"]
    """e."""
    spin: Int[Array, " graphs"]
    """Multiplicity, 0 where unknown."""
    senders: Int[Array, " edges"]
    receivers: Int[Array, " edges"]
    shifts: Int[Array, "edges 3"]
    """Whole lattice vectors added to the sender."""
    edge_mask: Bool[Array, " edges"]
    plan: Any = None
    """What the backbone's `plan_for` made for these structures."""
    triplets: Triplets | None = None
    """Pairs of edges, for backbones that need them."""

    @property
    def graphs(self) -> int:
        """Structures the batch has room for."""
        return self.species.shape[0]

    @property
    def slots(self) -> int:
        """Atoms each structure has room for."""
        return self.species.shape[1]

    def edge_vectors(self, beyond: float) -> Float[Array, "edges 3"]:
        """Vectors from each receiver to its sender's image, Å.

        Padding edges get a constant vector of length `beyond`, so that nothing
        divides by their zero length.
        """
        positions = self.positions.reshape(-1, 3)
        vectors = positions[self.senders] - positions[self.receivers]
        if self.cell is not None:
            cells = self.cell[self.receivers // self.slots]
            shifts = self.shifts.astype(positions.dtype)
            # Geometry at full precision: reduced-precision products break invariances.
            vectors = vectors + jnp.einsum(
                "ea,eab->eb", shifts, cells, precision=jax.lax.Precision.HIGHEST
            )
        away = jnp.array([beyond, 0.0, 0.0], positions.dtype)
        return jnp.where(self.edge_mask[:, None], vectors, away)
