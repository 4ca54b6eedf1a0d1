"""Exact or by quadrature, and with which grid."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import check_name, is_traced
from ._sphere import SphereGrid, extent, lebedev

Method = Literal["auto", "exact", "quadrature"]

# Both forms take equal time at so many atoms per point of the grid, and without a grid
# the exact one serves so many atoms (benchmarks/crossover.py).
_ATOMS_PER_POINT = 2
_ATOMS_WITHOUT_GRID = 256
# Room for the rounding of float32 when a phase is compared with a grid's reach.
_ROUNDING = 1.0 + 1e-4


def prefers_exact(method: Method, atoms: int, grid: SphereGrid | None) -> bool:
    """Whether pairs of atoms are summed; without a grid, whether none is needed."""
    check_name("method", method, ("auto", "exact", "quadrature"))
    limit = _ATOMS_WITHOUT_GRID if grid is None else _ATOMS_PER_POINT * len(grid)
    return method == "exact" or (method == "auto" and atoms <= limit)


def quadrature_grid(
    method: Method,
    grid: SphereGrid | None,
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    mask: Bool[Array, " atoms"],
    degree: int,
) -> SphereGrid | None:
    """The grid to integrate on, checked where it can be; None for the exact form."""
    atoms = len(positions)
    if prefers_exact(method, atoms, grid):
        return None
    if grid is not None and grid.degree < degree:
        raise ValueError(
            f"`grid` is for harmonics up to degree {grid.degree}, needed is {degree}: "
            f"make it with `lebedev(..., degree={degree})`."
        )
    if is_traced(positions, frequencies, mask):
        if grid is None:
            raise ValueError(
                "`positions` or `frequencies` are traced, so the grid they need is "
                "unknown: pass `grid=lebedev(highest frequency times extent)`, or use "
                '`method="exact"`.'
            )
        return grid
    highest = float(np.max(np.abs(np.asarray(frequencies)), initial=0.0))
    across = float(extent(positions, mask))
    phase = highest * across
    if grid is None:
        grid = lebedev(1.01 * phase, degree=degree)
        return None if prefers_exact(method, atoms, grid) else grid
    if not phase <= grid.reach * (1 + 1e-6):
        raise ValueError(
            f"`frequencies` up to {highest:.3g} 1/Å across a structure of "
            f"{across:.4g} Å are phases up to {phase:.3g}, beyond the grid's "
            f"{grid.reach:.3g}: make a larger grid with `lebedev`, or a plan for this "
            'structure with `plan_for`, or use `method="exact"`.'
        )
    return grid


def one_within_reach(
    grid: SphereGrid,
    centred: Float[Array, "atoms 3"],
    frequencies: Float[Array, " pairs"],
) -> Float[Array, ""]:
    """One where the grid reaches across the structure, else NaN; for traced arrays.

    Args:
        grid: of the quadrature.
        centred: positions around their centroid, zero on padding, Å.
        frequencies: 1/Å.
    """
    centred, frequencies = jax.lax.stop_gradient((centred, frequencies))
    radius = jnp.sqrt(jnp.max(jnp.sum(centred**2, axis=1), initial=0.0))
    phase = 2 * radius * jnp.max(jnp.abs(frequencies), initial=0.0)
    covered = phase <= grid.reach * _ROUNDING
    return jnp.where(covered, 1.0, jnp.nan).astype(centred.dtype)
