"""The choice between exact sum and quadrature, and of the quadrature grid."""

import warnings
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import check_choice, is_traced, wrong_plan
from ._lebedev import LebedevGrid, extent, lebedev_grid
from ._open_plan import OpenPlan

Method = Literal["auto", "exact", "quadrature"]

# Both forms take equal time at this number of atoms per grid point; without a grid the
# exact sum is used up to this number of atoms (benchmarks/crossover.py).
_ATOMS_PER_POINT = 2
_ATOMS_WITHOUT_GRID = 256
# Tolerance for float32 rounding when a phase is compared with that of a grid.
_ROUNDING = 1.0 + 1e-4


def prefers_exact(method: Method, atoms: int, grid: LebedevGrid | None) -> bool:
    """Returns whether the exact sum is used; `grid` is None if there is none yet."""
    check_choice("method", method, ("auto", "exact", "quadrature"))
    limit = _ATOMS_WITHOUT_GRID if grid is None else _ATOMS_PER_POINT * len(grid)
    return method == "exact" or (method == "auto" and atoms <= limit)


def quadrature_grid(
    method: Method,
    plan: object,
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    mask: Bool[Array, " atoms"],
    degree: int,
) -> LebedevGrid | None:
    """Returns the quadrature grid, checked unless traced; None for the exact sum."""
    if plan is not None and not isinstance(plan, OpenPlan):
        raise ValueError(wrong_plan(plan, OpenPlan, "None"))
    atoms, grid = len(positions), None if plan is None else plan.grid
    if prefers_exact(method, atoms, grid):
        return None
    if grid is not None and grid.degree < degree:
        raise ValueError(
            f"The plan integrates harmonics up to degree {grid.degree}, needed is "
            f"{degree}: make it with `OpenPlan.for_structures(..., degree={degree})`."
        )
    if is_traced(positions, frequencies, mask):
        if grid is None:
            raise ValueError(
                "`positions` or `frequencies` are traced, so the grid they need is "
                "unknown: make a plan on the host with `OpenPlan.for_structures(None, "
                "positions, frequencies=...)` and pass it as `plan`, or use "
                '`method="exact"`.'
            )
        return grid
    highest = float(np.max(np.abs(np.asarray(frequencies)), initial=0.0))
    diameter = float(extent(positions, mask))
    phase = highest * diameter
    if grid is None:
        grid = lebedev_grid(1.01 * phase, degree=degree)
        return None if prefers_exact(method, atoms, grid) else grid
    if not phase <= grid.max_phase * (1 + 1e-6):
        raise ValueError(
            f"`frequencies` up to {highest:.3g} 1/Å in a structure of extent "
            f"{diameter:.4g} Å are phases up to {phase:.3g}, beyond the grid's "
            f"`max_phase` of {grid.max_phase:.3g}: make a plan for this structure with "
            "`OpenPlan.for_structures` or `layer.plan(None, positions)`, or use "
            '`method="exact"`.'
        )
    return grid


def one_within_reach(
    grid: LebedevGrid,
    centered: Float[Array, "atoms 3"],
    frequencies: Float[Array, " pairs"],
) -> Float[Array, ""]:
    r"""One if the grid is sufficient for the extent of the structure, else NaN.

    Args:
        grid: quadrature grid.
        centered: positions relative to their centroid, zero on padding, Å.
        frequencies: $\omega_k$, 1/Å.
    """
    centered, frequencies = jax.lax.stop_gradient((centered, frequencies))
    radius = jnp.sqrt(jnp.max(jnp.sum(centered**2, axis=1), initial=0.0))
    phase = 2 * radius * jnp.max(jnp.abs(frequencies), initial=0.0)
    covered = phase <= grid.max_phase * _ROUNDING
    return jnp.where(covered, 1.0, jnp.nan).astype(centered.dtype)


def check_layer_grid(grid: LebedevGrid | None, degree: int, accuracy: float) -> None:
    """Raises a ValueError for a grid of too low degree; warns if it is inaccurate."""
    if grid is None:
        return
    if grid.degree < degree:
        raise ValueError(
            f"`quadrature_grid` integrates harmonics up to degree {grid.degree}, the "
            f"layer has degree {degree}: make it with "
            f"`lebedev_grid(..., degree={degree})`."
        )
    if grid.accuracy > accuracy:
        warnings.warn(
            f"`quadrature_grid` integrates plane waves to {grid.accuracy} only, not "
            f"{accuracy}: rotations of a structure will change results by this error.",
            stacklevel=3,
        )
