"""ZBL nuclear repulsion, for distances shorter than those of the training data."""

import jax.numpy as jnp
from ase.data import covalent_radii
from jaxtyping import Array, Float

from ._batch import Batch
from ._edge_hooks import sum_over_neighbors
from ._radial import envelope

COULOMB_CONSTANT = 14.399645
"""eV Å/e²."""

_PREFACTORS = (0.18175, 0.50986, 0.28022, 0.02817)
_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


def screened_repulsion(
    distance: Float[Array, " edges"],
    atomic_numbers: tuple[Float[Array, " edges"], Float[Array, " edges"]],
) -> Float[Array, " edges"]:
    r"""Returns the potential of Ziegler, Biersack and Littmark (ZBL), eV per pair.

    $$ \frac{k_e Z_i Z_j}{r} \sum_m c_m e^{-b_m r/a}, \qquad
       a = \frac{0.46850}{Z_i^{0.23} + Z_j^{0.23}} $$

    Args:
        distance: r, Å.
        atomic_numbers: Z of the two atoms.

    References:
        Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985).
    """
    first, second = atomic_numbers
    scaled = distance * (first**0.23 + second**0.23) / 0.46850
    screening = sum(
        prefactor * jnp.exp(-exponent * scaled)
        for prefactor, exponent in zip(_PREFACTORS, _EXPONENTS, strict=True)
    )
    return COULOMB_CONSTANT * first * second / distance * screening


def repulsion(batch: Batch, cutoff: float) -> Float[Array, " nodes"]:
    """Returns half the ZBL repulsion of each atom's pairs, eV.

    The envelope brings the repulsion of a pair to zero at the sum of its covalent
    radii, the bond length, or at the cutoff if that is smaller.

    Args:
        batch: the structures.
        cutoff: of the edges, Å.
    """
    distance = jnp.linalg.norm(batch.edge_vectors(padding_length=cutoff), axis=-1)
    radii = jnp.asarray(covalent_radii, distance.dtype)
    species = batch.species.reshape(-1)
    ends = species[batch.receivers], species[batch.senders]
    bond_length = jnp.minimum(radii[ends[0]] + radii[ends[1]], cutoff)
    # Padding has atomic number 0, whose fractional powers have infinite derivatives.
    atomic_numbers = tuple(jnp.maximum(z, 1).astype(distance.dtype) for z in ends)
    energies = screened_repulsion(distance, (atomic_numbers[0], atomic_numbers[1]))
    energies = 0.5 * energies * envelope(distance / bond_length, 1.0)
    return sum_over_neighbors(jnp.where(batch.edge_mask, energies, 0.0), batch)
