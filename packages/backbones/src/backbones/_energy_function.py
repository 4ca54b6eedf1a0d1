"""Potential energy as a function of arrays, for molecular dynamics."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._batch import Batch
from ._potential import Potential
from ._triplets import triplets_within


def energy_function(
    potential: Potential,
    species: Int[np.ndarray, " atoms"],
    *,
    total_charge: float,
    spin: int = 0,
    triplets: int | None = None,
) -> Callable[..., Float[Array, ""]]:
    """Returns the energy of one structure as a function of its geometry.

    The function works under `jit`, `grad` and `vmap`. It takes

    - `positions`: `[atoms, 3]`, Å; in single precision near the origin, see
      `Structure.origin`;
    - `senders`, `receivers`: `[edges]`, both directions of each pair, in any order;
      padding has an index that is no atom's, such as `atoms`;
    - `shifts`: `[edges, 3]`, integer multiples of the lattice vectors, added to the
      sender's position;
    - `box`: lattice vectors as rows, Å; None for open boundaries;
    - `plan`: of `potential.backbone.plan_for` for this structure, if a long-range layer
      needs one; check it with `plan_covers` when atoms or box have moved

    and returns the energy without the atomic energies, eV. Pairs beyond the cutoff do
    not contribute. If there are more triplets than `triplets` the energy is NaN.

    Args:
        potential: with any backbone.
        species: atomic numbers, `(atoms,)`.
        total_charge: e.
        spin: multiplicity, 0 if unknown.
        triplets: largest number of pairs of edges that share an atom, at most the sum
            of the squared numbers of neighbors; None for backbones without triplets.

    Raises:
        ValueError: an element is not supported, or `triplets` is missing for a backbone
            with `needs_triplets`.
    """
    potential.check_elements(species)
    if potential.backbone.needs_triplets and triplets is None:
        raise ValueError(
            f"{type(potential.backbone).__name__} needs triplets: set `triplets` to "
            "their largest number."
        )
    numbers = jnp.asarray(species, jnp.int32)[None]

    def energy(
        positions: Float[Array, "atoms 3"],
        senders: Int[Array, " edges"],
        receivers: Int[Array, " edges"],
        shifts: Int[Array, "edges 3"],
        box: Float[Array, "3 3"] | None,
        plan: Any = None,
    ) -> Float[Array, ""]:
        edges, edge_mask = _sort_by_receiver(senders, receivers, shifts, len(species))
        complete, triplet_list = jnp.array(True), None
        if potential.backbone.needs_triplets and triplets is not None:
            triplet_list, complete = triplets_within(
                edges, edge_mask, len(species), triplets
            )
        batch = Batch(
            species=numbers,
            positions=positions[None],
            mask=jnp.ones(numbers.shape, bool),
            cell=None if box is None else box[None],
            total_charge=jnp.full(1, total_charge, positions.dtype),
            spin=jnp.full(1, spin, jnp.int32),
            senders=edges[0],
            receivers=edges[1],
            shifts=edges[2],
            edge_mask=edge_mask,
            plan=plan,
            triplets=triplet_list,
        )
        total = jnp.sum(potential.energies(batch)[0])
        return jnp.where(complete, total, jnp.nan)

    return energy


def _sort_by_receiver(senders, receivers, shifts, atoms: int):
    """Returns the edges sorted by receiver, padding last with the last atom's index."""
    real = (senders < atoms) & (receivers < atoms)
    order = jnp.argsort(jnp.where(real, receivers, atoms))
    pad = lambda index: jnp.where(real, index, atoms - 1)[order].astype(jnp.int32)
    shifts = jnp.where(real[:, None], shifts, 0)[order].astype(jnp.int32)
    return (pad(senders), pad(receivers), shifts), real[order]
