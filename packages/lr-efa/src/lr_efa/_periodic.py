"""Euclidean fast attention in crystals, as a sum over reciprocal vectors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import check_arguments, is_traced, zero_padding
from ._coupling import coupling_tensor, degree_of_axis
from ._lattice import checked_cells, reciprocal, within_stretch
from ._shell import ShellGrid, shell_ends, shell_grid
from ._shell_weights import weighted_bands
from ._structure_factors import attend_in_crystal


def attend_periodic(  # noqa: PLR0913  terms of the equation
    query: Float[Array, "atoms qk"],
    key: Float[Array, "atoms qk"],
    value: Float[Array, "atoms v"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    shell_thickness: float,
    mask: Bool[Array, " atoms"] | None = None,
    grid: ShellGrid | None = None,
    normalize: bool = False,
) -> Float[Array, "atoms v"]:
    r"""Attention to all atoms of a crystal, images included, within a smooth range.

    $$ \mathrm{EFA}_m = \frac{1}{\sqrt{D_{qk}}} \frac{(2\pi)^3}{V} \sum_{K, k}
       w_k(|K|) \sum_n A_k \cos K \cdot (r_m - r_n)\, v_n, \qquad
       w_k = n_k e^{-(K - \omega_k)^2 / 2 s^2} $$

    over the reciprocal lattice, with the symmetric products $A_k$ of `attend` and $n_k$
    such that $\int w_k d^3K = 1$. It equals the sum over all images with a kernel that
    is $\sin(\omega_k r)/(\omega_k r)$ at short distances and zero beyond about 2.5/s.
    Translations, wrapping, the choice of the unit cell and supercells do not change the
    results. They are smooth functions of the cell, because each shell ends in a smooth
    window over the last s before $\omega_k + 6 s$. A cell that the grid does not cover
    gives NaN. The cost is proportional to atoms times vectors.

    Args:
        query: queries, channels in pairs (2k, 2k + 1).
        key: keys, channels in pairs (2k, 2k + 1).
        value: values, summed with the weights.
        positions: atomic positions, Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å.
        frequencies: $\omega_k$ of each pair of channels, 1/Å; independent of the cell.
        shell_thickness: width s of the reciprocal shells, 1/Å.
        mask: false on padding, which neither acts nor receives; None is no padding.
        grid: reciprocal vectors from `shell_grid`; None derives them from the cell,
            which must then be concrete.
        normalize: divide by the number of atoms within range,
            $1 + (2\pi)^{3/2} N / (V s^3)$; without it results grow with the density.

    Returns:
        The weighted sum of values, in their units; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, the cell is singular, `shell_thickness` is not
            positive, or the grid is missing, has a batch axis, or does not contain the
            vectors that the frequencies, the width and the cell need.

    References:
        Frank, Chmiela, Müller and Unke, arXiv:2412.08541, for the open form.
    """
    if {x.ndim for x in (query, key, value)} != {2}:
        raise ValueError(
            "`attend_periodic` takes features [atoms, channels], got query, key and "
            f"value of shapes {[list(x.shape) for x in (query, key, value)]}."
        )
    return attend_directional_periodic(
        query[:, None],
        key[:, None],
        value[:, None],
        positions,
        cell,
        frequencies,
        degree=0,
        shell_thickness=shell_thickness,
        mask=mask,
        grid=grid,
        normalize=normalize,
    )[:, 0]


def attend_directional_periodic(  # noqa: PLR0913  terms of the equation
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    degree: int,
    shell_thickness: float,
    coupling: Float[Array | np.ndarray, " paths"] | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    grid: ShellGrid | None = None,
    normalize: bool = False,
) -> Float[Array, "atoms output v"]:
    r"""Periodic attention with equivariant features that depend on directions.

    $$ \frac{1}{\sqrt{D_{qk}}} \frac{(2\pi)^3}{V} \sum_{K, k} w_k(|K|) \sum_n
       [A_k \cos K \cdot d + B_k \sin K \cdot d]\; v_n \otimes Y_l(\hat K),
       \qquad d = r_m - r_n $$

    with the cosine for even l and the sine for odd l; $K = 0$ has no direction and
    contributes to $l = 0$ only. See `attend_directional` for the features and
    `attend_periodic` for the lattice sum.

    Args:
        query: queries of degree L, `(L + 1)**2` components in e3nn order.
        key: keys, of the same shape.
        value: values of any degree.
        positions: atomic positions, Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å.
        frequencies: $\omega_k$ of each pair of channels, 1/Å.
        degree: largest l of the harmonics and of the result.
        shell_thickness: width s of the reciprocal shells, 1/Å.
        coupling: weight of each path of `coupling_paths(l of the value, degree)`; None
            is one for every path.
        mask: false on padding; None is no padding.
        grid: reciprocal vectors from `shell_grid`; None derives them from the cell.
        normalize: divide by the number of atoms within range.

    Returns:
        `(degree + 1)**2` components, component-normalized, in e3nn order.

    Raises:
        ValueError: as in `attend_periodic`, or components or `coupling` do not fit.
    """
    check_arguments(query, key, value, positions, frequencies)
    degree_of_axis(query.shape[1])
    tensor = coupling_tensor(degree_of_axis(value.shape[1]), degree, coupling)
    if mask is None:
        mask = jnp.ones(len(positions), bool)
    grid = _checked_grid(cell, frequencies, shell_thickness, grid, mask)
    query, key, value, positions = zero_padding(mask, query, key, value, positions)
    lattice = jnp.asarray(cell, value.dtype)
    dual, volume = reciprocal(lattice)
    omegas, tensor = np.asarray(frequencies, float), jnp.asarray(tensor, value.dtype)
    bands = weighted_bands(grid, dual, omegas, shell_thickness, tensor)
    # Phases are periodic in lattice vectors; small arguments are more accurate.
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
    result = attend_in_crystal(query, key, value, fractional, bands)
    factor = (2 * math.pi) ** 3 / (volume * query.shape[-1] ** 0.5)
    if normalize:
        density = jnp.sum(mask).astype(volume.dtype) / volume
        factor = factor / (1 + (2 * math.pi) ** 1.5 * density / shell_thickness**3)
    # Multiplied instead of selected with `where`, so that gradients are NaN too.
    covered = within_stretch(lattice, grid.cell.astype(lattice.dtype), grid.max_stretch)
    factor = factor * jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan)
    return jnp.where(mask[:, None, None], result * factor, 0.0)


def _checked_grid(
    cell: Float[Array | np.ndarray, "..."],
    frequencies: Float[Array | np.ndarray, " pairs"],
    shell_thickness: float,
    grid: ShellGrid | None,
    mask: Bool[Array, " atoms"],
) -> ShellGrid:
    """Returns the grid after all checks; derived from the cell if `grid` is None."""
    if is_traced(frequencies):
        raise ValueError(
            "`frequencies` are traced, but the shells of the periodic form are fixed: "
            "pass a NumPy array, such as the result of `frequency_grid(...)`."
        )
    if not shell_thickness > 0:
        raise ValueError(f"`shell_thickness` must be positive, got {shell_thickness}.")
    if grid is None:
        return shell_grid(cell, frequencies, shell_thickness=shell_thickness)
    if not is_traced(cell):
        checked_cells(np.asarray(cell))
    if grid.indices.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "The periodic form takes one structure, its cell [3, 3] and a grid without "
            f"batch axis, got cells of shape {list(cell.shape)} and a grid for cells "
            f"of {list(grid.cell.shape)}: use `jax.vmap` over structures, cells and "
            "grid together."
        )
    cutoff = float(shell_ends(np.asarray(frequencies, float), shell_thickness).max())
    if cutoff > grid.cutoff * (1 + 1e-6):
        raise ValueError(
            f"`grid` has a cutoff of {grid.cutoff:.4g} 1/Å, these frequencies and this "
            f"shell width need {cutoff:.4g}: pass both to `shell_grid`."
        )
    _check_covered(grid, cell, mask)
    return grid


def _check_covered(
    grid: ShellGrid,
    cell: Float[Array | np.ndarray, "3 3"],
    mask: Bool[Array, " atoms"],
) -> None:
    """Raises a ValueError for an uncovered cell; under a trace the result is NaN."""
    if is_traced(cell, grid.cell):
        return
    host_mask = None if is_traced(mask) else np.asarray(mask)
    if not grid.covers(np.asarray(cell), mask=host_mask):
        raise ValueError(
            f"The grid was made for the cell {np.asarray(grid.cell).tolist()} and "
            f"stretches up to {grid.max_stretch - 1:.2g}, got "
            f"{np.asarray(cell).tolist()}: make a grid for this cell with `shell_grid` "
            "or `layer.plan_for(...)`, with a `margin` if the cell changes."
        )
