"""Coulomb energy of Gaussian charges, open or periodic; potential and field."""

import numpy as np
from jaxtyping import Array, Bool, Float

from ._grid import KGrid
from ._kernels import COULOMB_CONSTANT, AbstractKernel, Coulomb
from ._mesh import Mesh
from ._system import prepared


def energy(
    charges: Float[Array, " atoms"] | Float[Array, "atoms charge_channels"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    dipoles: Float[Array, "atoms *charge_channels 3"] | None = None,
    quadrupoles: Float[Array, "atoms *charge_channels 3 3"] | None = None,
    sigma: float | Float[Array, ""] = 1.0,
    kernel: AbstractKernel | None = None,
    grid: KGrid | Mesh | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    remove_self: bool = True,
    neutralize: bool = False,
    coulomb_constant: float = COULOMB_CONSTANT,
) -> Float[Array, " atoms"]:
    r"""The Coulomb energy of every atom's smeared charge with all others.

    Open boundaries (`cell=None`):

    $$ E = \frac{k_e}{2} \sum_{i \ne j} q_i q_j
       \frac{\operatorname{erf}(r_{ij}/(\sqrt2 \sigma))}{r_{ij}} $$

    Periodic in three directions:

    $$ E = \frac{2\pi k_e}{V} \sum_{k \ne 0} w(k) \frac{e^{-\sigma^2 k^2/2}}{k^2}
       |S(k)|^2 - \frac{k_e}{\sigma\sqrt{2\pi}} \sum_i \left[ q_i^2 +
       \frac{u_i^2}{3\sigma^2} + \frac{Q_i : Q_i}{10 \sigma^4} \right], $$
    $$ S(k) = \sum_i (q_i + i k \cdot u_i - \tfrac12 k \cdot Q_i k) e^{i k \cdot r_i} $$

    with the smooth window $w$ of the grid, differentiated like all else, so that the
    energy is smooth when the cell breathes. Leaving out $k = 0$ is a neutralising
    background of the same Gaussians: allowed for charged cells, and meant. With
    `remove_self=False` the last term is not subtracted, and added in the open form, so
    that both have the same meaning. Another `kernel` takes the place of the Coulomb
    interaction in both forms. A cell, or a traced `sigma`, that the grid does not cover
    gives NaN.

    Args:
        charges: one charge per atom, or several channels whose energies add, e.
        positions: Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å, of either handedness; None is open.
        dipoles: $u$, with the channels of `charges`, e Å.
        quadrupoles: second moments $Q$, e Å²; only their symmetric traceless part acts.
        sigma: width of the interaction, $\sqrt2$ times that of one Gaussian, Å.
        kernel: the interaction; None is `Coulomb(coulomb_constant)`.
        grid: of one structure, from `k_grid`, `mesh` or `lattice_plan`. Derived from
            the cell if absent; required where cell or `sigma` are traced.
        mask: false on padding, which neither acts nor receives.
        remove_self: leave out the energy of each atom's moments with themselves.
        neutralize: subtract the mean charge first, in every channel.
        coulomb_constant: $k_e$ of the default kernel, eV Å/e².

    Returns:
        The energy per atom, eV; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, `sigma` is not positive, the cell is singular,
            or a grid is missing, superfluous, of a batch, for wider charges or for
            lower moments.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    if kernel is not None and coulomb_constant != COULOMB_CONSTANT:
        raise ValueError(
            "`coulomb_constant` belongs to the default kernel, got both it and "
            f"`kernel={type(kernel).__name__}(...)`: pass `kernel=Coulomb(constant)`."
        )
    system = prepared(
        charges,
        positions,
        cell,
        dipoles=dipoles,
        quadrupoles=quadrupoles,
        sigma=sigma,
        kernel=Coulomb(coulomb_constant) if kernel is None else kernel,
        grid=grid,
        mask=mask,
        neutralize=neutralize,
    )
    return system.energies(system.potential(remove_self=remove_self))


def potential_and_field(
    charges: Float[Array, " atoms"] | Float[Array, "atoms charge_channels"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    dipoles: Float[Array, "atoms *charge_channels 3"] | None = None,
    quadrupoles: Float[Array, "atoms *charge_channels 3 3"] | None = None,
    sigma: float | Float[Array, ""] = 1.0,
    kernel: AbstractKernel | None = None,
    grid: KGrid | Mesh | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    remove_self: bool = True,
) -> tuple[
    Float[Array, " atoms *charge_channels"], Float[Array, "atoms *charge_channels 3"]
]:
    r"""The electrostatic potential and field that every atom feels.

    $$ \Phi_i = \frac{\partial E}{\partial q_i}, \qquad
       F_i = -\frac{\partial E}{\partial u_i} $$

    with the $E$ of `energy` for the same arguments: they are those of the smeared
    others, in a charged cell of the background as well.

    Args:
        charges: as in `energy`, e.
        positions: Å.
        cell: rows are lattice vectors, Å; None is open.
        dipoles: e Å.
        quadrupoles: e Å².
        sigma: Å.
        kernel: as in `energy`.
        grid: as in `energy`.
        mask: false on padding.
        remove_self: leave out what an atom's own moments cause.

    Returns:
        The potential, V, and the field, V/Å, at every atom, with the channels of
        `charges`; zero on padding.

    Raises:
        ValueError: as `energy` does.
    """
    system = prepared(
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
    potential, field = system.potential_and_field(remove_self=remove_self)
    return potential.reshape(charges.shape), field.reshape(*charges.shape, 3)
