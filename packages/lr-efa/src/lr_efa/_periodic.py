"""Euclidean fast attention in crystals: reciprocal shells instead of spheres."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import check_arguments, is_traced, without_padding
from ._coupling import coupling_tensor, degree_of_axis
from ._lattice import checked_cells, reciprocal, within_stretch
from ._shell import ShellGrid, shell_ends, shell_grid
from ._spectrum import bands_of
from ._structure_factors import attend_to_lattice


def attend_periodic(
    query: Float[Array, "atoms qk"],
    key: Float[Array, "atoms qk"],
    value: Float[Array, "atoms v"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    width: float,
    mask: Bool[Array, " atoms"] | None = None,
    grid: ShellGrid | None = None,
    normalize: bool = False,
) -> Float[Array, "atoms v"]:
    r"""Attention to all atoms of a crystal, images included, within a smooth range.

    $$ \mathrm{EFA}_m = \frac{1}{\sqrt{D_{qk}}} \frac{(2\pi)^3}{V} \sum_{K, k}
       w_k(|K|) \sum_n A_k \cos K \cdot (r_m - r_n)\, v_n, \qquad
       w_k = n_k e^{-(K - \omega_k)^2 / 2 s^2} $$

    over the reciprocal lattice, with the symmetric products $A_k$ of `attend` and $n_k$
    such that $\int w_k d^3K = 1$. It is the sum over all images of a kernel that is
    $\sin(\omega_k r)/(\omega_k r)$ at short and zero beyond distances of about 2.5/s.
    Translations, wrapping, another cell of the same lattice and supercells change
    nothing; results are smooth when the cell breathes, because the shells are and a
    window ends each over the last s before $\omega_k + 6 s$. A cell that the grid
    does not cover gives NaN. Cost grows as atoms times vectors.

    Args:
        query: channels in pairs (2k, 2k + 1).
        key: channels in pairs (2k, 2k + 1).
        value: what is summed.
        positions: Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å.
        frequencies: $\omega_k$, an absolute 1/Å and no function of the cell.
        width: s, 1/Å.
        mask: false on padding, which neither acts nor receives.
        grid: the vectors, see `shell_grid`; derived from the cell if absent, required
            where the cell is traced.
        normalize: divide by the number of atoms within range,
            $1 + (2\pi)^{3/2} N / (V s^3)$; without it results grow with the density.

    Returns:
        In the units of the values; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, the cell is singular, the width is not positive,
            or a grid is missing, of a batch, or made for less.

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
        width=width,
        mask=mask,
        grid=grid,
        normalize=normalize,
    )[:, 0]


def attend_directional_periodic(
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    degree: int,
    width: float,
    coupling: Float[Array | np.ndarray, " paths"] | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    grid: ShellGrid | None = None,
    normalize: bool = False,
) -> Float[Array, "atoms output v"]:
    r"""Features up to a degree that know the directions of atoms in a crystal.

    $$ \frac{1}{\sqrt{D_{qk}}} \frac{(2\pi)^3}{V} \sum_{K, k} w_k(|K|) \sum_n
       [A_k \cos K \cdot d + B_k \sin K \cdot d]\; v_n \otimes Y_l(\hat K),
       \qquad d = r_m - r_n $$

    where the cosine survives for even l and the sine for odd l; $K = 0$ has no
    direction and enters for $l = 0$ only. See `attend_directional` for the features and
    `attend_periodic` for the lattice.

    Args:
        query: of degree L, `(L + 1)**2` components in e3nn order.
        key: of the same shape.
        value: of any degree.
        positions: Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å.
        frequencies: $\omega_k$, 1/Å.
        degree: largest l of the harmonics and of the result.
        width: s, 1/Å.
        coupling: weight of each of `coupling_paths(l of the value, degree)`; ones.
        mask: false on padding.
        grid: the vectors, see `shell_grid`.
        normalize: divide by the number of atoms within range.

    Returns:
        `(degree + 1)**2` components, component-normalised, in e3nn order.

    Raises:
        ValueError: as in `attend_periodic`, or components or `coupling` do not fit.
    """
    check_arguments(query, key, value, positions, frequencies)
    degree_of_axis(query.shape[1])
    coupled = coupling_tensor(degree_of_axis(value.shape[1]), degree, coupling)
    if mask is None:
        mask = jnp.ones(len(positions), bool)
    grid = _checked_grid(cell, frequencies, width, grid, mask)
    query, key, value, positions = without_padding(mask, query, key, value, positions)
    lattice = jnp.asarray(cell, value.dtype)
    dual, volume = reciprocal(lattice)
    omegas, tensor = np.asarray(frequencies, float), jnp.asarray(coupled, value.dtype)
    bands = bands_of(grid, dual, omegas, width, tensor)
    # Whole lattice vectors do not change the phases; without them they are accurate.
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
    result = attend_to_lattice(query, key, value, fractional, bands)
    factor = (2 * math.pi) ** 3 / (volume * query.shape[-1] ** 0.5)
    if normalize:
        density = jnp.sum(mask).astype(volume.dtype) / volume
        factor = factor / (1 + (2 * math.pi) ** 1.5 * density / width**3)
    # Multiplied, not selected: the gradients of an uncovered cell are NaN too.
    covered = within_stretch(lattice, grid.cell.astype(lattice.dtype), grid.stretch)
    factor = factor * jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan)
    return jnp.where(mask[:, None, None], result * factor, 0.0)


def _checked_grid(
    cell: Float[Array | np.ndarray, "..."],
    frequencies: Float[Array | np.ndarray, " pairs"],
    width: float,
    grid: ShellGrid | None,
    mask: Bool[Array, " atoms"],
) -> ShellGrid:
    """The grid to sum over, derived from the cell if there is none."""
    if is_traced(frequencies):
        raise ValueError(
            "`frequencies` are traced, but the shells of the periodic form are fixed: "
            "pass an array of numpy, as `frequencies(...)` makes it."
        )
    if not width > 0:
        raise ValueError(f"`width` is positive, got {width}.")
    if grid is None:
        return shell_grid(cell, frequencies, width=width)
    if not is_traced(cell):
        checked_cells(np.asarray(cell))
    if grid.indices.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "The periodic form takes one structure, its cell [3, 3] and a grid without "
            f"graph axis, got cells of shape {list(cell.shape)} and a grid for cells "
            f"of {list(grid.cell.shape)}: use `jax.vmap` over structures, cells and "
            "grid together."
        )
    end = float(shell_ends(np.asarray(frequencies, float), width).max())
    if end > grid.end * (1 + 1e-6):
        raise ValueError(
            f"`grid` ends at {grid.end:.4g} 1/Å, these frequencies and width need "
            f"{end:.4g}: pass both to `shell_grid`."
        )
    _refuse_uncovered(grid, cell, mask)
    return grid


def _refuse_uncovered(
    grid: ShellGrid,
    cell: Float[Array | np.ndarray, "3 3"],
    mask: Bool[Array, " atoms"],
) -> None:
    """Says outside a trace what inside one is NaN: the grid is for another cell."""
    if is_traced(cell, grid.cell):
        return
    some = None if is_traced(mask) else np.asarray(mask)
    if not grid.covers(np.asarray(cell), mask=some):
        raise ValueError(
            f"The grid was made for the cell {np.asarray(grid.cell).tolist()} and "
            f"stretches up to {grid.stretch - 1:.2g}, got {np.asarray(cell).tolist()}: "
            "make one for this cell with `shell_grid` or `layer.plan_for(...)`, with "
            "a `margin` for cells that move."
        )
