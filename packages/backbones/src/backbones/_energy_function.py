"""The potential energy as a function of plain arrays, for molecular dynamics."""

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
    """The energy of one structure with fixed atoms, as a function of plain arrays.

    The function can be compiled, differentiated and mapped. It takes

    - `positions`: `[atoms, 3]`, Å; in single precision near the origin, see
      `Structure.origin`;
    - `senders`, `receivers`: `[edges]`, both directions of each pair, in any order;
      padding names an atom that does not exist, such as `atoms`;
    - `shifts`: `[edges, 3]`, whole lattice vectors added to the sender;
    - `box`: lattice vectors as rows, Å, or None for open boundaries;
    - `plan`: of `potential.backbone.plan_for` for this one structure, if a long-range
      layer needs it; check it with `plan_covers` as atoms and box move

    and returns eV, without the reference energies. Pairs beyond the cutoff do no harm.
    If the triplets overflow their room the energy is NaN.

    Args:
        potential: any.
        species: atomic numbers.
        total_charge: e.
        spin: multiplicity, 0 where unknown.
        triplets: room for pairs of edges, at most the sum of squared neighbour counts;
            needed for backbones with `needs_triplets`.

    Raises:
        ValueError: an unknown element, or no room for triplets where they are needed.
    """
    potential.check_elements(species)
    if potential.backbone.needs_triplets and triplets is None:
        raise ValueError(
            f"{type(potential.backbone).__name__} needs triplets: say with `triplets` "
            "for how many to make room."
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
        edges, edge_mask = _sorted(senders, receivers, shifts, len(species))
        fits, found = jnp.array(True), None
        if potential.backbone.needs_triplets and triplets is not None:
            found, fits = triplets_within(edges, edge_mask, len(species), triplets)
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
            triplets=found,
        )
        total = jnp.sum(potential.energies(batch)[0])
        return jnp.where(fits, total, jnp.nan)

    return energy


def _sorted(senders, receivers, shifts, atoms: int):
    """Edges by receiver, padding last and pointing at the last atom."""
    real = (senders < atoms) & (receivers < atoms)
    order = jnp.argsort(jnp.where(real, receivers, atoms))
    last = lambda index: jnp.where(real, index, atoms - 1)[order].astype(jnp.int32)
    moves = jnp.where(real[:, None], shifts, 0)[order].astype(jnp.int32)
    return (last(senders), last(receivers), moves), real[order]
