"""Coulomb energy of Gaussian charges, open or periodic."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._grid import KGrid, k_grid
from ._kernels import open_potential, periodic_potential
from ._lattice import checked_cells, within_stretch

COULOMB_CONSTANT = 14.399645
r"""$k_e = 1/(4\pi\epsilon_0)$, eV Å/e²."""


def energy(
    charges: Float[Array, " atoms"] | Float[Array, "atoms charge_channels"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    sigma: float | Float[Array, ""] = 1.0,
    grid: KGrid | None = None,
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
       |S(k)|^2 - \frac{k_e}{\sigma\sqrt{2\pi}} \sum_i q_i^2,
       \qquad S(k) = \sum_i q_i e^{i k \cdot r_i} $$

    with the smooth window $w$ of the grid, differentiated like all else, so that the
    energy is smooth when the cell breathes. Leaving out $k = 0$ is a neutralising
    background of the same Gaussians: allowed for charged cells, and meant. With
    `remove_self=False` the last term is not subtracted, and added in the open form, so
    that both have the same meaning. A cell, or a traced `sigma`, that the grid does not
    cover gives NaN.

    Args:
        charges: one charge per atom, or several channels whose energies add, e.
        positions: Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å, of either handedness; None is open.
        sigma: width of the interaction, $\sqrt2$ times that of one Gaussian, Å.
        grid: the reciprocal vectors of one structure, see `k_grid`. Derived from the
            cell if absent; required where cell or `sigma` are traced.
        mask: false on padding, which neither acts nor receives.
        remove_self: leave out the energy of each charge with itself.
        neutralize: subtract the mean charge first, in every channel.
        coulomb_constant: $k_e$, eV Å/e².

    Returns:
        The energy per atom, eV; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, `sigma` is not positive, the cell is singular,
            or a grid is missing, superfluous, of a batch or for wider charges.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    _check_shapes(charges, positions, mask)
    _check_sigma(sigma)
    grid = _checked_grid(cell, sigma, grid)
    if mask is None:
        mask = jnp.ones(positions.shape[0], bool)
    dtype = jnp.result_type(charges, positions)
    width = jnp.asarray(sigma, dtype)
    positions = jnp.where(mask[:, None], positions, 0.0).astype(dtype)
    charges = charges.reshape(positions.shape[0], -1).astype(dtype)
    charges = masked_charges(charges, mask, neutralize=neutralize)
    if cell is None or grid is None:
        potential = open_potential(charges, positions, width)
    else:
        lattice = jnp.asarray(cell, dtype)
        potential = periodic_potential(charges, positions, lattice, width, grid)
        # Multiplied, not selected: the gradients of an uncovered cell are NaN too.
        potential = potential * _nan_unless_covered(grid, lattice, width, mask)
    if remove_self:
        potential = potential - charges * (math.sqrt(2 / math.pi) / width)
    energies = 0.5 * coulomb_constant * jnp.sum(charges * potential, axis=1)
    return jnp.where(mask, energies, 0.0)


def masked_charges(
    charges: Float[Array, "atoms charge_channels"],
    mask: Bool[Array, " atoms"],
    *,
    neutralize: bool,
) -> Float[Array, "atoms charge_channels"]:
    """The charges, zero on padding and, if asked for, without their mean."""
    live = mask[:, None]
    charges = jnp.where(live, charges, 0.0)
    if neutralize:
        count = jnp.maximum(jnp.sum(mask), 1).astype(charges.dtype)
        charges = jnp.where(live, charges - jnp.sum(charges, axis=0) / count, 0.0)
    return charges


def _nan_unless_covered(
    grid: KGrid,
    cell: Float[Array, "3 3"],
    sigma: Float[Array, ""],
    mask: Bool[Array, " atoms"],
) -> Float[Array, ""]:
    planned = jnp.asarray(grid.cell, cell.dtype)
    covered = within_stretch(cell, planned, grid.stretch)
    covered &= jax.lax.stop_gradient(sigma) >= grid.sigma * (1 - 1e-5)
    return jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan).astype(cell.dtype)


def _check_shapes(
    charges: Float[Array, "..."],
    positions: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
) -> None:
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(
            f"`positions` has shape [atoms, 3], got {list(positions.shape)}; for a "
            "batch of structures use `jax.vmap`."
        )
    atoms = positions.shape[0]
    if charges.ndim not in (1, 2) or charges.shape[0] != atoms:
        raise ValueError(
            f"`charges` has shape [atoms] or [atoms, channels] with {atoms} atoms, got "
            f"{list(charges.shape)}."
        )
    if mask is not None and mask.shape != (atoms,):
        raise ValueError(f"`mask` has shape [{atoms}], got {list(mask.shape)}.")


def _check_sigma(sigma: float | Float[Array, ""]) -> None:
    if not isinstance(sigma, Tracer) and not float(sigma) > 0:
        raise ValueError(f"`sigma` is a width and must be positive, got {sigma}.")


def _checked_grid(
    cell: Float[Array | np.ndarray, "..."] | None,
    sigma: float | Float[Array, ""],
    grid: KGrid | None,
) -> KGrid | None:
    """The grid to sum over, derived from concrete arguments if there is none."""
    if cell is None:
        if grid is not None:
            raise ValueError("A `grid` needs a `cell`; open boundaries have neither.")
        return None
    traced_sigma = isinstance(sigma, Tracer)
    if grid is None:
        if traced_sigma:
            raise ValueError(
                "`sigma` is traced, so the grid it needs is unknown: make one with "
                "`k_grid(cell, sigma=...)` for the smallest width and pass `grid`."
            )
        grid = k_grid(cell, sigma=float(sigma))
    if not isinstance(cell, Tracer):
        checked_cells(np.asarray(cell))
    if grid.indices.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "`energy` takes one structure, its cell [3, 3] and a grid without graph "
            "axis: use `jax.vmap` over structures, cells and grid together."
        )
    if not traced_sigma and float(sigma) < grid.sigma * (1 - 1e-5):
        raise ValueError(
            f"The grid is made for widths from {grid.sigma} Å, got sigma = {sigma}: "
            "pass `sigma` to `k_grid`."
        )
    return grid
