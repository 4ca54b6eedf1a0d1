"""Arguments that all kernels share, checked, masked and in one dtype."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._checks import check_positive
from ._direct import direct_potential
from ._grid import KGrid
from ._kernels import AbstractKernel, Coulomb
from ._lattice import checked_cells, within_stretch
from ._mesh import Mesh
from ._multipoles import Multipoles, masked, traceless
from ._open import open_potential
from ._plan import lattice_plan
from ._spreading import mesh_potential


class System(eqx.Module):
    """Multipoles, positions, cell and grid of one structure."""

    moments: Multipoles
    positions: Float[Array, "atoms 3"]
    cell: Float[Array, "3 3"] | None
    mask: Bool[Array, " atoms"]
    sigma: Float[Array, ""]
    kernel: AbstractKernel
    grid: KGrid | Mesh | None

    def potential(self, *, remove_self: bool) -> Multipoles:
        """Returns the derivative of the energy by every moment; NaN if uncovered."""
        interaction = self.kernel, self.sigma
        if self.cell is None or self.grid is None:
            potential = open_potential(self.moments, self.positions, *interaction)
        else:
            structure = self.moments, self.positions, self.cell
            if isinstance(self.grid, Mesh):
                potential = mesh_potential(*structure, *interaction, self.grid)
            else:
                potential = direct_potential(*structure, *interaction, self.grid)
            # Multiplied instead of selected with `where`, so that gradients are NaN
            # too.
            validity = _one_if_covered(self.grid, self.cell, self.sigma, self.mask)
            potential = jax.tree.map(lambda x: x * validity, potential)
        if remove_self:
            self_potential = self.moments.self_potential(*interaction)
            potential = jax.tree.map(jnp.subtract, potential, self_potential)
        return potential

    def potential_and_field(
        self, *, remove_self: bool
    ) -> tuple[
        Float[Array, "atoms charge_channels"], Float[Array, "atoms charge_channels 3"]
    ]:
        """Returns potential and field at the atoms, zero on padding."""
        moments = self.moments
        if moments.dipoles is None:
            zeros = jnp.zeros((*moments.charges.shape, 3), moments.charges.dtype)
            moments = Multipoles(moments.charges, zeros)
        with_dipoles = eqx.tree_at(lambda system: system.moments, self, moments)
        potential = with_dipoles.potential(remove_self=remove_self)
        mask = self.mask[:, None]
        field = jnp.where(mask[..., None], potential.dipoles, 0.0)
        return jnp.where(mask, potential.charges, 0.0), -field

    def energies(self, potential: Multipoles) -> Float[Array, " atoms"]:
        """Returns half of the product of moments and potential, zero on padding."""
        return jnp.where(self.mask, 0.5 * self.moments.dot(potential), 0.0)


def make_system(  # noqa: PLR0913  as many as `energy` has
    charges: Float[Array, "..."],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None,
    *,
    dipoles: Float[Array, "..."] | None,
    quadrupoles: Float[Array, "..."] | None,
    sigma: float | Float[Array, ""],
    kernel: AbstractKernel | None,
    grid: KGrid | Mesh | None,
    mask: Bool[Array, " atoms"] | None,
    neutralize: bool = False,
) -> System:
    """Checks the arguments that all kernels share and converts them to a `System`."""
    _check_shapes(charges, positions, mask)
    _check_moments(charges, dipoles, quadrupoles)
    if not isinstance(sigma, Tracer):
        check_positive("sigma", "width", float(sigma))
    kernel = Coulomb() if kernel is None else kernel
    if mask is None:
        mask = jnp.ones(positions.shape[0], bool)
    dtype = jnp.result_type(charges, positions)
    moments = _moments(charges, dipoles, quadrupoles, mask, dtype, neutralize)
    power = kernel.power + 2 * moments.degree
    checked_grid = _checked_grid(cell, sigma, grid, mask, power)
    return System(
        moments=moments,
        positions=jnp.where(mask[:, None], positions, 0.0).astype(dtype),
        cell=None if cell is None else jnp.asarray(cell, dtype),
        mask=mask,
        sigma=jnp.asarray(sigma, dtype),
        kernel=kernel,
        grid=checked_grid,
    )


def _moments(charges, dipoles, quadrupoles, mask, dtype, neutralize) -> Multipoles:
    """Multipoles with a channel axis, zero on padding; quadrupoles imply dipoles."""
    atoms = charges.shape[0]
    charges = masked(
        charges.reshape(atoms, -1).astype(dtype), mask, neutralize=neutralize
    )
    channels = charges.shape[1]
    if dipoles is None and quadrupoles is not None:
        dipoles = jnp.zeros((atoms, channels, 3), dtype)
    if dipoles is not None:
        dipoles = dipoles.reshape(atoms, channels, 3).astype(dtype)
        dipoles = jnp.where(mask[:, None, None], dipoles, 0.0)
    if quadrupoles is not None:
        quadrupoles = quadrupoles.reshape(atoms, channels, 3, 3).astype(dtype)
        quadrupoles = traceless(jnp.where(mask[:, None, None, None], quadrupoles, 0.0))
    return Multipoles(charges, dipoles, quadrupoles)


def _one_if_covered(
    grid: KGrid | Mesh,
    cell: Float[Array, "3 3"],
    sigma: Float[Array, ""],
    mask: Bool[Array, " atoms"],
) -> Float[Array, ""]:
    """Returns one if the grid covers cell and width, else NaN; one without atoms."""
    planned = jnp.asarray(grid.cell, cell.dtype)
    covered = within_stretch(cell, planned, grid.max_stretch)
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


def _check_moments(
    charges: Float[Array, "..."],
    dipoles: Float[Array, "..."] | None,
    quadrupoles: Float[Array, "..."] | None,
) -> None:
    for name, array, axes in (("dipoles", dipoles, 1), ("quadrupoles", quadrupoles, 2)):
        expected = charges.shape + (3,) * axes
        if array is not None and array.shape != expected:
            raise ValueError(
                f"`{name}` has the shape of `charges` and {axes} more of three, "
                f"{list(expected)}, got {list(array.shape)}."
            )


def _checked_grid(
    cell: Float[Array | np.ndarray, "..."] | None,
    sigma: float | Float[Array, ""],
    grid: KGrid | Mesh | None,
    mask: Bool[Array, " atoms"],
    power: int,
) -> KGrid | Mesh | None:
    """Returns the grid after all checks; derived from the cell if `grid` is None."""
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
        grid = lattice_plan(cell, len(mask), sigma=float(sigma), power=power)
    if not isinstance(grid, KGrid | Mesh):
        raise ValueError(
            f"A grid is a `KGrid` or a `Mesh`, got a {type(grid).__name__}: make one "
            "with `lattice_plan(cell, num_atoms)` or `layer.plan_for(...)`."
        )
    if not isinstance(cell, Tracer):
        checked_cells(np.asarray(cell))
    if grid.basis.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "`energy` and the layer take one structure, its cell [3, 3] and a grid "
            "without batch axis, got cells of shape "
            f"{list(cell.shape)} and a grid for cells of {list(grid.cell.shape)}: use "
            "`jax.vmap` over structures, cells and grid together."
        )
    _check_covered(grid, cell, mask)
    if not traced_sigma and float(sigma) < grid.sigma * (1 - 1e-5):
        raise ValueError(
            f"The grid was made for widths from {grid.sigma} Å, got sigma = {sigma}: "
            "pass `sigma` to `k_grid` or `mesh`."
        )
    if grid.power < power:
        raise ValueError(
            f"The grid was made for powers of k up to {grid.power}, these multipoles "
            f"and this kernel have {power}: pass `power={power}` to `k_grid` or `mesh`."
        )
    return grid


def _check_covered(
    grid: KGrid | Mesh,
    cell: Float[Array | np.ndarray, "3 3"],
    mask: Bool[Array, " atoms"],
) -> None:
    """Raises a ValueError for an uncovered cell; under a trace the result is NaN."""
    if isinstance(cell, Tracer) or isinstance(grid.cell, Tracer):
        return
    host_mask = None if isinstance(mask, Tracer) else np.asarray(mask)
    if not grid.covers(np.asarray(cell), mask=host_mask):
        raise ValueError(
            f"The grid was made for the cell {np.asarray(grid.cell).tolist()} and "
            f"stretches up to {grid.max_stretch - 1:.2g}, got "
            f"{np.asarray(cell).tolist()}: make a grid for this cell with "
            "`lattice_plan(cell, num_atoms)` or `layer.plan_for(...)`, with a `margin` "
            "if the cell changes."
        )
