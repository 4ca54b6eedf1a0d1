"""The Coulomb matrix of Gaussian charges, with open or periodic boundaries."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._ewald import Ewald
from ._lattice import (
    check_mask,
    check_positions,
    checked_cells,
    concrete_positions,
    within_strain,
)
from ._multipoles import Charges, ChargesAndDipoles
from ._sums import CoulombSums, open_sums, periodic_sums


def coulomb_matrix(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    plan: Ewald | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "atoms atoms"]:
    r"""The Coulomb matrix $A$ of Gaussian charges; their energy is $qAq/2$.

    Open boundaries (`cell=None`), with $\gamma_{ij}^2 = \sigma_i^2 + \sigma_j^2$:

    $$ A_{ij} = k_e \frac{\operatorname{erf}(r_{ij}/(\sqrt2\gamma_{ij}))}{r_{ij}},
       \qquad A_{ii} = \frac{k_e}{\sigma_i \sqrt\pi} $$

    Periodic in three directions:

    $$ A_{ij} = \frac{4\pi k_e}{V} \sum_{k \ne 0}
       \frac{e^{-\gamma_{ij}^2 k^2/2}}{k^2} \cos k \cdot r_{ij} $$

    evaluated as two rapidly converging sums. A charged cell has the uniform background
    that cancels the $k = 0$ term of the Gaussian charges; the matrix is positive
    semidefinite. A traced cell or width that the plan does not cover gives NaN.

    Args:
        widths: standard deviations $\sigma$ of the charge densities, Å.
        positions: Å, wrapped into the cell or not.
        cell: rows are lattice vectors, right- or left-handed, Å; None means open
            boundaries.
        plan: terms of the periodic sums, see `Ewald.for_structures`. None derives it
            from cell and widths; the cell must not be traced then.
        mask: false on padding; None means no padding.

    Returns:
        eV/e²; rows and columns of padding are zero.

    Raises:
        ValueError: shapes are inconsistent, a width is not positive, the cell is
            singular, or the plan is missing, made for another cell, or given for open
            boundaries.

    References:
        Fuchs, Sanocki, Zavadlav, arXiv:2501.19179.
    """
    return coulomb_sums(widths, positions, cell, plan=plan, mask=mask).matrix()


def coulomb_sums(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    plan: Ewald | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    degree: int = 0,
) -> CoulombSums:
    """The Coulomb matrix of `coulomb_matrix` as its real-space and reciprocal sums.

    `equilibrate` accepts the sums in place of the matrix. The charges are the same, and
    derivatives with respect to positions, widths and cell are much cheaper.

    Args:
        widths: standard deviations of the charge densities, Å.
        positions: Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å; None means open boundaries.
        plan: as for `coulomb_matrix`.
        mask: false on padding; None means no padding.
        degree: 0 for charges, 1 for charges and dipoles of the same widths. With 1,
            vectors contain all charges (e), then the x, y and z components of all
            dipoles (e Å); products contain potentials (eV/e), then their gradient
            (eV/e/Å).

    Returns:
        A callable that maps charges to potentials; its `matrix()` equals
        `coulomb_matrix`.

    Raises:
        ValueError: as for `coulomb_matrix`, or the degree is not 0 or 1.
    """
    if degree not in (0, 1):
        raise ValueError(f"`degree` is 0 (charges) or 1 (with dipoles), got {degree}.")
    multipoles = ChargesAndDipoles() if degree else Charges()
    check_shapes(widths, positions, mask)
    if mask is None:
        mask = jnp.ones(positions.shape[0], bool)
    check_positive("width", widths, mask, "Å")
    plan = _checked_plan(widths, positions, cell, plan, mask)
    dtype = jnp.result_type(positions, widths)
    positions = jnp.where(mask[:, None], positions, 0.0).astype(dtype)
    # A width on padding that is finite and within the bounds of the plan.
    padding = 1.0 if plan is None else float(np.clip(1.0, *plan.width_bounds))
    widths = jnp.where(mask, widths, padding).astype(dtype)
    if cell is None or plan is None:
        return open_sums(positions, widths, mask, multipoles)
    cell = jnp.asarray(cell, dtype)
    validity = _validity(plan, cell, widths, mask)
    return periodic_sums(positions, widths, cell, plan, mask, validity, multipoles)


def _validity(
    plan: Ewald,
    cell: Float[Array, "3 3"],
    widths: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
) -> Float[Array, ""]:
    """1 if the plan covers the structure, else NaN."""
    planned = jnp.asarray(plan.cell, cell.dtype)
    covered = within_strain(cell, planned, plan.stretch)
    covered &= jnp.all(within_bounds(widths, plan.width_bounds))
    return jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan).astype(cell.dtype)


def within_bounds(
    widths: Float[Array, " atoms"], bounds: tuple[float, float]
) -> Bool[Array, " atoms"]:
    """Whether each width is within the bounds, up to rounding in float32."""
    low, high = bounds
    return (widths >= low * (1 - 1e-5)) & (widths <= high * (1 + 1e-5))


def check_positive(
    name: str,
    values: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
    unit: str,
) -> None:
    """Raises ValueError if a known value of a real atom is not positive and finite."""
    if isinstance(values, Tracer) or isinstance(mask, Tracer):
        return
    real = np.asarray(values)[np.asarray(mask)]
    invalid = real[~((real > 0) & np.isfinite(real))]
    if invalid.size:
        raise ValueError(
            f"Every {name} must be positive and finite, got {invalid[0]} {unit}; "
            "exclude padding with `mask`."
        )


def check_shapes(
    widths: Float[Array, "..."],
    positions: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
) -> None:
    """Raises ValueError if the shapes of a kernel's arguments are inconsistent."""
    check_positions(positions)
    atoms = positions.shape[0]
    if widths.shape != (atoms,):
        raise ValueError(f"`widths` has shape [{atoms}], got {list(widths.shape)}.")
    if mask is not None:
        check_mask(mask, atoms)


def _checked_plan(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "..."] | None,
    plan: Ewald | None,
    mask: Bool[Array, " atoms"],
) -> Ewald | None:
    """The plan of the periodic sums, derived from concrete arguments if it is None."""
    if cell is None:
        if plan is not None:
            raise ValueError(
                "A `plan` needs a `cell`; open boundaries have neither of the two."
            )
        return None
    if not isinstance(cell, Tracer):
        checked_cells(np.asarray(cell))
    if plan is None:
        return _derived_plan(widths, positions, cell, mask)
    if not isinstance(plan, Ewald):
        raise ValueError(
            f"`plan` of a Coulomb matrix is an `Ewald`, got a {type(plan).__name__}: "
            "make one with `Ewald.for_structures` or `layer.plan(...)`."
        )
    if plan.indices.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "`coulomb_matrix` and the layer take one structure, its cell [3, 3] and a "
            f"plan without batch axis, got cells of shape {list(cell.shape)} and a "
            f"plan for cells of shape {list(plan.cell.shape)}: use `jax.vmap` over "
            "structures, cells and plan together."
        )
    if not isinstance(widths, Tracer) and not isinstance(mask, Tracer):
        check_widths(np.asarray(widths)[np.asarray(mask)], plan.width_bounds)
    if isinstance(cell, Tracer) or isinstance(plan.cell, Tracer):
        return plan
    host_mask = None if isinstance(mask, Tracer) else np.asarray(mask)
    host_positions = concrete_positions(positions, mask)
    if not plan.covers(np.asarray(cell), host_positions, host_mask):
        raise ValueError(
            f"The plan was made for the cell {np.asarray(plan.cell).tolist()} and "
            f"strains up to {plan.stretch - 1:.2g}, got "
            f"{np.asarray(cell).tolist()}: make one for this cell with "
            "`Ewald.for_structures` or `layer.plan(...)`, with a larger `margin` if "
            "the cell changes."
        )
    return plan


def check_widths(widths: np.ndarray, bounds: tuple[float, float]) -> None:
    """Raises ValueError if a width is outside the bounds of a plan.

    In a trace such a width gives NaN.

    Args:
        widths: of real atoms, Å.
        bounds: smallest and largest width of the plan, Å.
    """
    low, high = bounds
    outside = widths[(widths < low * (1 - 1e-5)) | (widths > high * (1 + 1e-5))]
    if outside.size:
        raise ValueError(
            f"The plan covers widths from {low:.4g} to {high:.4g} Å, got "
            f"{outside[0]:.6g} Å: make one for these widths, with `width_bounds` of "
            "`Ewald.for_structures` or `width_max` of `ParticleMesh.for_structures`."
        )


def _derived_plan(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "..."],
    mask: Bool[Array, " atoms"],
) -> Ewald | None:
    if isinstance(widths, Tracer) or isinstance(mask, Tracer):
        return Ewald.for_structures(cell, positions)
    real = np.asarray(widths, np.float64)[np.asarray(mask)]
    bounds = (real.min(), real.max()) if real.size else (1.0, 1.0)
    low, high = float(bounds[0]), float(bounds[1])
    return Ewald.for_structures(cell, positions, width_bounds=(low, high))
