"""Coulomb energy of Gaussian charges, open or periodic; potential and field."""

import numpy as np
from jaxtyping import Array, Bool, Float

from ._grid import KGrid
from ._kernels import COULOMB_CONSTANT, AbstractKernel, Coulomb
from ._mesh import Mesh
from ._system import make_system


def energy(  # noqa: PLR0913  terms of the equation
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
    r"""Coulomb energy per atom of smeared charges and multipoles, open or periodic.

    Open boundaries (`cell=None`):

    $$ E = \frac{k_e}{2} \sum_{i \ne j} q_i q_j
       \frac{\operatorname{erf}(r_{ij}/(\sqrt2 \sigma))}{r_{ij}} $$

    Periodic in three directions:

    $$ E = \frac{2\pi k_e}{V} \sum_{k \ne 0} w(k) \frac{e^{-\sigma^2 k^2/2}}{k^2}
       |S(k)|^2 - \frac{k_e}{\sigma\sqrt{2\pi}} \sum_i \left[ q_i^2 +
       \frac{u_i^2}{3\sigma^2} + \frac{Q_i : Q_i}{10 \sigma^4} \right], $$
    $$ S(k) = \sum_i (q_i + i k \cdot u_i - \tfrac12 k \cdot Q_i k) e^{i k \cdot r_i} $$

    with the smooth window $w$ of the grid, which is differentiated like all other
    factors, so that the energy is a smooth function of the cell. Omitting $k = 0$ is a
    neutralizing background of the same Gaussians, for charged cells too. With
    `remove_self=False` the self energy is not subtracted in a cell and is added in the
    open form, so that both have the same meaning. Another `kernel` replaces the Coulomb
    interaction in both forms. A cell, or a traced `sigma`, that the grid does not cover
    gives NaN.

    Args:
        charges: one charge per atom, or several channels whose energies are added, e.
        positions: atomic positions, Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å, of either handedness; None is open.
        dipoles: $u$ of every atom, with the channels of `charges`, e Å; None is zero.
        quadrupoles: second moments $Q$ of every atom, e Å²; only their symmetric
            traceless part contributes. None is zero.
        sigma: width of the interaction, $\sqrt2$ times that of one Gaussian, Å.
        kernel: the interaction; None is `Coulomb(coulomb_constant)`.
        grid: grid or mesh of one structure, from `k_grid`, `mesh` or `lattice_plan`.
            None derives it from the cell; required if cell or `sigma` are traced.
        mask: false on padding, which neither acts nor receives; None is no padding.
        remove_self: leave out the energy of the multipoles of each atom with
            themselves.
        neutralize: first subtract the mean charge, in every channel.
        coulomb_constant: $k_e$ of the default kernel, eV Å/e².

    Returns:
        The energy per atom, eV; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, `sigma` is not positive, the cell is singular, or
            the grid is missing, has a batch axis, does not cover the cell, is given
            without a cell, or was made for a larger width or a lower power of k.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    if kernel is not None and coulomb_constant != COULOMB_CONSTANT:
        raise ValueError(
            "`coulomb_constant` is that of the default kernel, got both it and "
            f"`kernel={type(kernel).__name__}(...)`: pass `kernel=Coulomb(constant)`."
        )
    system = make_system(
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


def potential_and_field(  # noqa: PLR0913  terms of the equation
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
    r"""Electrostatic potential and field at every atom.

    $$ \Phi_i = \frac{\partial E}{\partial q_i}, \qquad
       F_i = -\frac{\partial E}{\partial u_i} $$

    with $E$ as in `energy` for the same arguments. They are caused by the smeared
    charges and multipoles of the other atoms and, in a charged cell, by the background.

    Args:
        charges: one charge per atom, or several channels, e.
        positions: atomic positions, Å.
        cell: rows are lattice vectors, Å; None is open.
        dipoles: dipole of every atom, e Å; None is zero.
        quadrupoles: second moment of every atom, e Å²; None is zero.
        sigma: width of the interaction, Å.
        kernel: the interaction; None is `Coulomb()`.
        grid: grid or mesh of one structure, as in `energy`.
        mask: false on padding; None is no padding.
        remove_self: leave out the contribution of the atom itself.

    Returns:
        The potential, V, and the field, V/Å, at every atom, with the channels of
        `charges`; zero on padding.

    Raises:
        ValueError: as in `energy`.
    """
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
    potential, field = system.potential_and_field(remove_self=remove_self)
    return potential.reshape(charges.shape), field.reshape(*charges.shape, 3)
