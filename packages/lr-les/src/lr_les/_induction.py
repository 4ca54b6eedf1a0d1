"""Charges and dipoles induced by potential and field, without self-consistency."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._grid import KGrid
from ._kernels import AbstractKernel
from ._mesh import Mesh
from ._system import make_system


def induction(  # noqa: PLR0913  terms of the equation
    charges: Float[Array, " atoms"] | Float[Array, "atoms charge_channels"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    charge_response: Float[Array, " atoms"],
    polarizability: Float[Array, " atoms"],
    dipoles: Float[Array, "atoms *charge_channels 3"] | None = None,
    quadrupoles: Float[Array, "atoms *charge_channels 3 3"] | None = None,
    sigma: float | Float[Array, ""] = 1.0,
    kernel: AbstractKernel | None = None,
    grid: KGrid | Mesh | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> tuple[
    Float[Array, " atoms"],
    Float[Array, " atoms *charge_channels"],
    Float[Array, "atoms *charge_channels 3"],
]:
    r"""Linear response of charges and dipoles to the permanent charges and multipoles.

    $$ E_i = -\tfrac12 \kappa_i \Phi_i^2 - \tfrac12 \alpha_i |F_i|^2, \qquad
       \Delta q_i = -\kappa_i \Phi_i, \quad \Delta u_i = \alpha_i F_i $$

    with potential and field of the permanent multipoles of all other atoms, as from
    `potential_and_field`. The response is not iterated: induced charges and dipoles do
    not induce further ones. The energy is added to `energy` of the permanent
    multipoles. The induced charges need not sum to zero.

    Args:
        charges: permanent charges, e; every channel responds independently.
        positions: atomic positions, Å.
        cell: rows are lattice vectors, Å; None is open.
        charge_response: $\kappa$ of every atom, e²/eV, not negative.
        polarizability: $\alpha$ of every atom, e² Å²/eV, not negative.
        dipoles: permanent dipoles, e Å; None is zero.
        quadrupoles: permanent second moments, e Å²; None is zero.
        sigma: width of the interaction, Å.
        kernel: the interaction; None is `Coulomb()`.
        grid: grid or mesh of one structure, as in `energy`.
        mask: false on padding; None is no padding.

    Returns:
        The energy per atom, eV; the induced charges, e; the induced dipoles, e Å. Zero
        on padding.

    Raises:
        ValueError: as in `energy`, or a response is not one number per atom.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    responses = {"charge_response": charge_response, "polarizability": polarizability}
    for name, response in responses.items():
        if response.shape != (positions.shape[0],):
            raise ValueError(
                f"`{name}` is one number per atom, shape [{positions.shape[0]}], got "
                f"{list(response.shape)}."
            )
    system = make_system(
        charges,
        positions,
        cell,
        dipoles=dipoles,
        quadrupoles=quadrupoles,
        sigma=sigma,
        kernel=kernel,
        grid=grid,
        mask=mask,
    )
    potential, field = system.potential_and_field(remove_self=True)
    mask = system.mask
    kappa = jnp.where(mask, charge_response, 0.0).astype(potential.dtype)
    alpha = jnp.where(mask, polarizability, 0.0).astype(potential.dtype)
    induced_charges = -kappa[:, None] * potential
    induced_dipoles = alpha[:, None, None] * field
    energies = jnp.sum(induced_charges * potential, axis=1)
    energies = 0.5 * (energies - jnp.sum(induced_dipoles * field, axis=(1, 2)))
    return (
        energies,
        induced_charges.reshape(charges.shape),
        induced_dipoles.reshape(*charges.shape, 3),
    )
