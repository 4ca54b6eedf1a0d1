"""Checks of the arguments of a system of charges, and of its plan."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._grid import KGrid
from ._lattice import (
    check_mask,
    check_positions,
    checked_cells,
    concrete_positions,
    within_stretch,
)
from ._mesh import Mesh
from ._multipoles import Multipoles
from ._plan import lattice_plan


def check_moments(
    moments: Multipoles,
    positions: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
) -> None:
    """Raises a ValueError where shapes do not fit together."""
    check_positions(positions)
    atoms, charges = positions.shape[0], moments.charges
    if charges.ndim not in (1, 2) or charges.shape[0] != atoms:
        raise ValueError(
            f"`charges` has shape [atoms] or [atoms, channels] with {atoms} atoms, got "
            f"{list(charges.shape)}."
        )
    if mask is not None:
        check_mask(mask, atoms)
    for name, axes in (("dipoles", 1), ("quadrupoles", 2)):
        array, expected = getattr(moments, name), charges.shape + (3,) * axes
        if array is not None and array.shape != expected:
            raise ValueError(
                f"`{name}` has the shape of `charges` and {axes} more of three, "
                f"{list(expected)}, got {list(array.shape)}."
            )


def checked_plan(
    plan: KGrid | Mesh | None,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "..."] | None,
    mask: Bool[Array, " atoms"],
    sigma: float | Float[Array, ""],
    power: int,
) -> KGrid | Mesh | None:
    """Returns the plan after all checks; if it is None, derived unless traced."""
    if cell is None:
        if plan is not None:
            raise ValueError(
                "A `plan` needs a `cell`: in open boundaries there is neither."
            )
        return None
    if not isinstance(cell, Tracer):
        checked_cells(np.asarray(cell))
    if plan is None:
        if isinstance(cell, Tracer) or isinstance(sigma, Tracer):
            return None
        plan = lattice_plan(cell, positions, sigma=float(sigma), power=power)
    if not isinstance(plan, KGrid | Mesh):
        raise ValueError(
            f"A plan is a `KGrid` or a `Mesh`, got a {type(plan).__name__}: make one "
            "with `lattice_plan(cell, positions)` or `layer.plan(cell, positions)`."
        )
    if plan.basis.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "`energy` and the layer take one structure, its cell [3, 3] and a plan "
            "without batch axis, got cells of shape "
            f"{list(cell.shape)} and a plan for cells of {list(plan.cell.shape)}: use "
            "`jax.vmap` over structures, cells and plan together."
        )
    _check_covered(plan, positions, cell, mask)
    if not isinstance(sigma, Tracer) and float(sigma) < plan.sigma * (1 - 1e-5):
        raise ValueError(
            f"The plan was made for widths from {plan.sigma} Å, got sigma = {sigma}: "
            "pass `sigma` to `lattice_plan`."
        )
    if plan.power < power:
        raise ValueError(
            f"The plan was made for powers of k up to {plan.power}, these multipoles "
            f"and this kernel have {power}: pass `power={power}` to `lattice_plan`."
        )
    return plan


def one_if_covered(
    plan: KGrid | Mesh,
    cell: Float[Array, "3 3"],
    sigma: Float[Array, ""],
    mask: Bool[Array, " atoms"],
) -> Float[Array, ""]:
    """Returns one if the plan covers cell and width, else NaN; one without atoms."""
    planned = jnp.asarray(plan.cell, cell.dtype)
    covered = within_stretch(cell, planned, plan.max_stretch)
    covered &= jax.lax.stop_gradient(sigma) >= plan.sigma * (1 - 1e-5)
    return jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan).astype(cell.dtype)


def _check_covered(
    plan: KGrid | Mesh,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"],
    mask: Bool[Array, " atoms"],
) -> None:
    """Raises a ValueError for an uncovered cell; under a trace the result is NaN."""
    if isinstance(cell, Tracer) or isinstance(plan.cell, Tracer):
        return
    host_mask = None if isinstance(mask, Tracer) else np.asarray(mask)
    host_positions = concrete_positions(positions, mask)
    if not plan.covers(np.asarray(cell), host_positions, host_mask):
        raise ValueError(
            f"The plan was made for the cell {np.asarray(plan.cell).tolist()} and "
            f"strains up to {plan.max_stretch - 1:.2g}, got "
            f"{np.asarray(cell).tolist()}: make a plan for this cell with "
            "`lattice_plan(cell, positions)` or `layer.plan(cell, positions)`, with a "
            "`margin` if the cell changes."
        )
