"""Coulomb energy of smeared charges and multipoles, open or periodic."""

import numpy as np
from jaxtyping import Array, Bool, Float

from ._charge_system import ChargeSystem
from ._grid import KGrid
from ._kernels import AbstractKernel
from ._mesh import Mesh
from ._multipoles import Multipoles


def energy(
    charges: Float[Array, " atoms *charge_channels"] | Multipoles,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    plan: KGrid | Mesh | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    sigma: float | Float[Array, ""] = 1.0,
    kernel: AbstractKernel | None = None,
    remove_self: bool = True,
    neutralize: bool = False,
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

    with the smooth window $w$ of the plan, which is differentiated like all other
    factors, so that the energy is a smooth function of the cell. Omitting $k = 0$ is a
    neutralizing background of the same Gaussians, for charged cells too. With
    `remove_self=False` the self energy is not subtracted in a cell and is added in the
    open form, so that both have the same meaning. Another `kernel` replaces the Coulomb
    interaction in both forms. A cell, or a traced `sigma`, that the plan does not cover
    gives NaN. `ChargeSystem` has the potential, the field and responses as well.

    Args:
        charges: one charge per atom, or several channels whose energies are added, e;
            or `Multipoles` with dipoles and quadrupoles, whose symmetric traceless part
            contributes.
        positions: atomic positions, Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å, of either handedness; None is open.
        plan: plan of one structure, from `lattice_plan`, `KGrid.for_structures`,
            `Mesh.for_structures` or `layer.plan`. None derives it from the cell;
            required if cell or `sigma` are traced.
        mask: false on padding, which neither acts nor receives; None is no padding.
        sigma: width of the interaction, Å: standard deviation of the Gaussian charge
            density that acts on a point charge. Two equal Gaussian charges have a
            standard deviation of $\sigma/\sqrt2$ each.
        kernel: the interaction; None is `Coulomb()`.
        remove_self: leave out the energy of the multipoles of each atom with
            themselves.
        neutralize: first subtract the mean charge, in every channel.

    Returns:
        The energy per atom, eV; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, `sigma` is not positive, the cell is singular, or
            the plan is missing, has a batch axis, does not cover the cell, is given
            without a cell, or was made for a larger width or a lower power of k.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    system = ChargeSystem(
        charges,
        positions,
        cell,
        plan=plan,
        mask=mask,
        sigma=sigma,
        kernel=kernel,
        neutralize=neutralize,
    )
    return system.energies(remove_self=remove_self)
