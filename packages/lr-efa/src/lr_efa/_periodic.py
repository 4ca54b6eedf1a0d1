"""The periodic form of the attention, as a sum over reciprocal vectors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import Features, is_traced, wrong_plan, zero_padding
from ._lattice import (
    checked_cells,
    concrete_positions,
    reciprocal,
    within_stretch,
)
from ._shell import ShellGrid, shell_ends
from ._shell_weights import weighted_bands
from ._structure_factors import attend_in_crystal


def attend_periodic(
    features: Features,
    positions: Float[Array, "atoms 3"],
    mask: Bool[Array, " atoms"],
    cell: Float[Array | np.ndarray, "3 3"],
    frequencies: Float[np.ndarray, " pairs"],
    tensor: Float[Array | np.ndarray, "output harmonic components"],
    shells: ShellGrid,
    *,
    shell_thickness: float,
    normalize: bool,
) -> Float[Array, "atoms output v"]:
    """Attention in a cell; NaN if `shells` does not cover it."""
    query, key, value, positions = zero_padding(mask, *features, positions)
    lattice = jnp.asarray(cell, value.dtype)
    dual, volume = reciprocal(lattice)
    tensor = jnp.asarray(tensor, value.dtype)
    bands = weighted_bands(shells, dual, frequencies, shell_thickness, tensor)
    # Phases are periodic in lattice vectors; small arguments are more accurate.
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
    result = attend_in_crystal(query, key, value, fractional, bands)
    factor = (2 * math.pi) ** 3 / (volume * query.shape[-1] ** 0.5)
    if normalize:
        density = jnp.sum(mask).astype(volume.dtype) / volume
        factor = factor / (1 + (2 * math.pi) ** 1.5 * density / shell_thickness**3)
    # Multiplied instead of selected with `where`, so that gradients are NaN too.
    planned = shells.cell.astype(lattice.dtype)
    covered = within_stretch(lattice, planned, shells.max_stretch)
    factor = factor * jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan)
    return jnp.where(mask[:, None, None], result * factor, 0.0)


def checked_shells(
    plan: object,
    positions: Float[Array, "atoms 3"],
    mask: Bool[Array, " atoms"],
    cell: Float[Array | np.ndarray, "..."],
    frequencies: Float[Array | np.ndarray, " pairs"],
    shell_thickness: float,
) -> ShellGrid:
    """Returns the plan after all checks; derived from the cell if it is None."""
    if is_traced(frequencies):
        raise ValueError(
            "`frequencies` are traced, but the shells of the periodic form are fixed: "
            "pass a NumPy array, such as the result of `frequency_grid(...)`."
        )
    if not shell_thickness > 0:
        raise ValueError(f"`shell_thickness` must be positive, got {shell_thickness}.")
    if plan is None:
        shells = {"frequencies": frequencies, "shell_thickness": shell_thickness}
        plan = ShellGrid.for_structures(cell, positions, **shells)
    if not isinstance(plan, ShellGrid):
        raise ValueError(wrong_plan(plan, ShellGrid, "cell"))
    if not is_traced(cell):
        checked_cells(np.asarray(cell))
    if plan.indices.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "The periodic form takes one structure, its cell [3, 3] and a plan without "
            f"batch axis, got cells of shape {list(cell.shape)} and a plan for cells "
            f"of {list(plan.cell.shape)}: use `jax.vmap` over structures, cells and "
            "plan together."
        )
    cutoff = float(shell_ends(np.asarray(frequencies, float), shell_thickness).max())
    if cutoff > plan.cutoff * (1 + 1e-6):
        raise ValueError(
            f"The plan has a cutoff of {plan.cutoff:.4g} 1/Å, these frequencies and "
            f"this shell thickness need {cutoff:.4g}: pass both to "
            "`ShellGrid.for_structures`."
        )
    _check_covered(plan, positions, mask, cell)
    return plan


def _check_covered(
    plan: ShellGrid,
    positions: Float[Array, "atoms 3"],
    mask: Bool[Array, " atoms"],
    cell: Float[Array | np.ndarray, "3 3"],
) -> None:
    """Raises a ValueError for an uncovered cell; under a trace the result is NaN."""
    if is_traced(cell, plan.cell):
        return
    host_mask = None if is_traced(mask) else np.asarray(mask)
    host_positions = concrete_positions(positions, mask)
    if not plan.covers(np.asarray(cell), host_positions, host_mask):
        raise ValueError(
            f"The plan was made for the cell {np.asarray(plan.cell).tolist()} and "
            f"strains up to {plan.max_stretch - 1:.2g}, got "
            f"{np.asarray(cell).tolist()}: make a plan for this cell with "
            "`ShellGrid.for_structures` or `layer.plan(cell, positions)`, with a "
            "`margin` if the cell changes."
        )
