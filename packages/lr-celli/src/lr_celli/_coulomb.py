"""The Coulomb matrix of Gaussian charges, open or periodic."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._ewald import Ewald
from ._expansion import Charges, ChargesAndDipoles
from ._lattice import checked_cells, strained_within
from ._sums import CoulombSums, open_sums, periodic_sums


def coulomb_matrix(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    ewald: Ewald | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "atoms atoms"]:
    r"""The matrix $A$ of Gaussian charges with a width each; their energy is $qAq/2$.

    Open boundaries (`cell=None`), with $\gamma_{ij}^2 = \sigma_i^2 + \sigma_j^2$:

    $$ A_{ij} = k_e \frac{\operatorname{erf}(r_{ij}/(\sqrt2\gamma_{ij}))}{r_{ij}},
       \qquad A_{ii} = \frac{k_e}{\sigma_i \sqrt\pi} $$

    Periodic in three directions:

    $$ A_{ij} = \frac{4\pi k_e}{V} \sum_{k \ne 0}
       \frac{e^{-\gamma_{ij}^2 k^2/2}}{k^2} \cos k \cdot r_{ij} $$

    evaluated as two rapidly converging sums. Leaving out $k = 0$ of the Gaussian
    charges defines the background of a charged cell; the matrix is positive
    semidefinite. A traced cell or a width that the split does not cover gives NaN.

    Args:
        positions: Å, wrapped into the cell or not.
        widths: standard deviations $\sigma$ of the charge densities, Å.
        cell: rows are lattice vectors, Å, of either handedness; None is open.
        ewald: the split of the periodic sum, see `Ewald.for_cells`. Derived from cell
            and widths if absent; required where they are traced.
        mask: false on padding.

    Returns:
        eV/e²; rows and columns of padding are zero.

    Raises:
        ValueError: shapes do not fit, a width is not positive, the cell is singular,
            or a split is missing, superfluous or made for another cell.

    References:
        Fuchs, Sanocki, Zavadlav, arXiv:2501.19179.
    """
    return coulomb_sums(positions, widths, cell, ewald=ewald, mask=mask).matrix()


def coulomb_sums(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    ewald: Ewald | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    degree: int = 0,
) -> CoulombSums:
    """The matrix of `coulomb_matrix`, not yet assembled from its sums.

    `equilibrate` takes it instead of the matrix: the charges are the same, and
    derivatives with respect to positions, widths and cell cost much less.

    Args:
        positions: Å, wrapped into the cell or not.
        widths: standard deviations of the charge densities, Å.
        cell: rows are lattice vectors, Å; None is open.
        ewald: as for `coulomb_matrix`.
        mask: false on padding.
        degree: 0 for charges, 1 for charges and dipoles of the same widths: vectors
            are then the charges (e), followed by all dipoles' x, y and z (e Å), and
            potentials are followed by their slopes (eV/e/Å).

    Returns:
        A function of charges; its `matrix()` is that of `coulomb_matrix`.

    Raises:
        ValueError: as `coulomb_matrix`, or another degree.
    """
    if degree not in (0, 1):
        raise ValueError(f"`degree` is 0 (charges) or 1 (and dipoles), got {degree}.")
    expansion = ChargesAndDipoles() if degree else Charges()
    _check_shapes(positions, widths, mask)
    if mask is None:
        mask = jnp.ones(positions.shape[0], bool)
    check_positive("width", widths, mask, "Å")
    ewald = _checked_ewald(cell, widths, ewald, mask)
    dtype = jnp.result_type(positions, widths)
    positions = jnp.where(mask[:, None], positions, 0.0).astype(dtype)
    # Padding takes a width that every split serves and does no arithmetic harm.
    spare = 1.0 if ewald is None else float(np.clip(1.0, *ewald.width_bounds))
    widths = jnp.where(mask, widths, spare).astype(dtype)
    if cell is None or ewald is None:
        return open_sums(positions, widths, mask, expansion)
    lattice = jnp.asarray(cell, dtype)
    sound = _nan_unless_covered(ewald, lattice, widths, mask)
    return periodic_sums(positions, widths, lattice, ewald, mask, sound, expansion)


def _nan_unless_covered(
    ewald: Ewald,
    cell: Float[Array, "3 3"],
    widths: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
) -> Float[Array, ""]:
    planned = jnp.asarray(ewald.cell, cell.dtype)
    covered = strained_within(cell, planned, ewald.stretch)
    covered &= jnp.all(within_bounds(widths, ewald.width_bounds))
    return jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan).astype(cell.dtype)


def within_bounds(
    widths: Float[Array, " atoms"], bounds: tuple[float, float]
) -> Bool[Array, " atoms"]:
    """Which widths lie between the bounds, rounding of float32 allowed."""
    low, high = bounds
    return (widths >= low * (1 - 1e-5)) & (widths <= high * (1 + 1e-5))


def check_positive(
    name: str,
    values: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
    unit: str,
) -> None:
    """Refuses a concrete value of a live atom that is not positive and finite."""
    if isinstance(values, Tracer) or isinstance(mask, Tracer):
        return
    live = np.asarray(values)[np.asarray(mask)]
    bad = live[~((live > 0) & np.isfinite(live))]
    if bad.size:
        raise ValueError(
            f"Every {name} must be positive and finite, got {bad[0]} {unit}; leave "
            "atoms that do not count out with `mask`."
        )


def _check_shapes(
    positions: Float[Array, "..."],
    widths: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
) -> None:
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(
            f"`positions` has shape [atoms, 3], got {list(positions.shape)}; for a "
            "batch of structures use `jax.vmap`."
        )
    atoms = positions.shape[0]
    if widths.shape != (atoms,):
        raise ValueError(f"`widths` has shape [{atoms}], got {list(widths.shape)}.")
    if mask is not None and mask.shape != (atoms,):
        raise ValueError(f"`mask` has shape [{atoms}], got {list(mask.shape)}.")


def _checked_ewald(
    cell: Float[Array | np.ndarray, "..."] | None,
    widths: Float[Array, " atoms"],
    ewald: Ewald | None,
    mask: Bool[Array, " atoms"],
) -> Ewald | None:
    """The split to sum with, derived from concrete arguments if there is none."""
    if cell is None:
        if ewald is not None:
            raise ValueError("An `ewald` needs a `cell`; open boundaries have neither.")
        return None
    concrete = not isinstance(cell, Tracer)
    if concrete:
        checked_cells(np.asarray(cell))
    if ewald is None:
        return _derived_ewald(cell, widths, mask)
    if not isinstance(ewald, Ewald):
        raise ValueError(
            f"`ewald`, the plan of a matrix, is an `Ewald`, got a "
            f"{type(ewald).__name__}: make one with `Ewald.for_cells` or "
            "`layer.plan_for(...)`."
        )
    if ewald.indices.ndim != 2 or cell.ndim != 2:
        raise ValueError(
            "`coulomb_matrix` and the layer take one structure, its cell [3, 3] and a "
            f"split without graph axis, got cells of shape {list(cell.shape)} and a "
            f"split for cells of {list(ewald.cell.shape)}: use `jax.vmap` over "
            "structures, cells and split together."
        )
    if not isinstance(widths, Tracer) and not isinstance(mask, Tracer):
        refuse_widths(np.asarray(widths)[np.asarray(mask)], ewald.width_bounds)
    some = None if isinstance(mask, Tracer) else np.asarray(mask)
    if not concrete or isinstance(ewald.cell, Tracer):
        return ewald
    if not ewald.covers(np.asarray(cell), mask=some):
        raise ValueError(
            f"The split was made for the cell {np.asarray(ewald.cell).tolist()} and "
            f"strains up to {ewald.stretch - 1:.2g}, got "
            f"{np.asarray(cell).tolist()}: make one for this cell with "
            "`Ewald.for_cells` or `layer.plan_for(...)`, with a `margin` for cells "
            "that move."
        )
    return ewald


def refuse_widths(live: np.ndarray, bounds: tuple[float, float]) -> None:
    """Says outside a trace what inside one is NaN: a width that no plan was made for.

    Args:
        live: widths of real atoms, Å.
        bounds: of the plan, Å.
    """
    low, high = bounds
    bad = live[(live < low * (1 - 1e-5)) | (live > high * (1 + 1e-5))]
    if bad.size:
        raise ValueError(
            f"The plan serves widths from {low:.4g} to {high:.4g} Å, got "
            f"{bad[0]:.6g} Å: make one for these widths, with `width_bounds` of "
            "`Ewald.for_cells` or `width_max` of `ParticleMesh.for_structures`."
        )


def _derived_ewald(
    cell: Float[Array | np.ndarray, "..."],
    widths: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
) -> Ewald:
    if isinstance(widths, Tracer) or isinstance(mask, Tracer):
        return Ewald.for_cells(cell)
    live = np.asarray(widths, np.float64)[np.asarray(mask)]
    bounds = (live.min(), live.max()) if live.size else (1.0, 1.0)
    return Ewald.for_cells(cell, width_bounds=(float(bounds[0]), float(bounds[1])))
