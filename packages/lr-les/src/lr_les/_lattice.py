"""Cells and plans: reciprocal vectors, strain, and checks of structures.

The long-range packages do not import each other; they contain this file unchanged.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

ROUNDING = 1.0 + 1e-4
"""Factor for rounding in float32 when a cell is compared with the planned one."""


def reciprocal(
    cell: Float[Array, "3 3"],
) -> tuple[Float[Array, "3 3"], Float[Array, ""]]:
    r"""Reciprocal vectors without the factor $2\pi$, as rows, and the volume.

    Computed from cross products, which are cheap under `vmap`, infinitely
    differentiable, and valid for left-handed cells (the volume is positive).
    """
    a, b, c = cell
    normals = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    determinant = jnp.sum(normals[0] * a)
    return normals / determinant, jnp.abs(determinant)


def within_stretch(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    r"""Whether the largest stretch from `reference` to `cell` is below `limit`.

    The largest singular value of the deformation $F = R^{-1} C$ is below $s$ exactly if
    $s^2 - F^T F$ is positive definite, that is, if its three leading principal minors
    are positive. Gradients are stopped. False if the cell contains NaN.
    """
    cell, reference = jax.lax.stop_gradient((cell, reference))
    deformation = jnp.matmul(reciprocal(reference)[0].T, cell, precision="highest")
    square = jnp.matmul(deformation.T, deformation, precision="highest")
    difference = limit**2 * jnp.eye(3, dtype=cell.dtype) - square
    minor = difference[0, 0] * difference[1, 1] - difference[0, 1] * difference[1, 0]
    determinant = jnp.sum(difference[0] * jnp.cross(difference[1], difference[2]))
    return (difference[0, 0] > 0) & (minor > 0) & (determinant > 0)


def within_strain(
    cell: Float[Array, "3 3"], reference: Float[Array, "3 3"], limit: float
) -> Bool[Array, ""]:
    """Whether the stretch is below `limit` and the compression above `1 / limit`."""
    stretched = within_stretch(cell, reference, limit)
    return stretched & within_stretch(reference, cell, limit)


def checked_cells(cells: Float[Array | np.ndarray, "..."]) -> np.ndarray:
    """The cells in float64, `[..., 3, 3]`; raises ValueError if one is singular."""
    cells = np.asarray(cells, np.float64)
    if cells.ndim not in (2, 3) or cells.shape[-2:] != (3, 3):
        raise ValueError(
            "A cell has shape [3, 3] (rows are lattice vectors) and a batch of cells "
            f"[graphs, 3, 3], got {list(cells.shape)}."
        )
    length_products = np.prod(np.linalg.norm(cells, axis=-1), axis=-1)
    singular = ~(np.abs(np.linalg.det(cells)) > 1e-6 * length_products)
    if singular.any():
        raise ValueError(
            f"The cell {cells[singular][0].tolist()} is singular: give three "
            "independent lattice vectors, or `cell=None` for open boundaries; slabs, "
            "wires and molecules in a zero cell are not supported."
        )
    return cells


def concrete_cells(
    cells: Float[Array | np.ndarray, "..."], constructor: str
) -> np.ndarray:
    """The cells in float64; raises ValueError if they are traced or singular.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        constructor: what makes a plan on the host, for the error message.
    """
    if isinstance(cells, Tracer):
        raise ValueError(
            "The cell is traced, so the terms of its lattice sums are unknown: make a "
            f"plan on the host with {constructor} and pass it as `plan`."
        )
    return checked_cells(np.asarray(cells))


def covered_cells(
    planned_cells: Float[Array, "*graphs 3 3"],
    cells: Float[Array | np.ndarray, "..."] | None,
    positions: Float[Array | np.ndarray, "..."],
    mask: Bool[Array | np.ndarray, "..."] | None,
    limit: float,
    *,
    limit_compression: bool = False,
) -> bool | Bool[np.ndarray, " graphs"]:
    """Whether each cell equals the planned one up to a limited strain, on the host.

    A structure with a real atom whose position is not finite is not covered.

    Args:
        planned_cells: the cell, or one cell per graph, that the plan was made for, Å.
        cells: the same number of cells, Å; None means open boundaries, which no
            lattice sum covers.
        positions: Å; only whether they are finite is used.
        mask: false on padding; graphs without atoms count as covered. None means no
            padding.
        limit: factor below which the largest singular value of the deformation must
            be.
        limit_compression: whether the smallest singular value must also be above
            `1 / limit`.

    Returns:
        A bool for one cell, or an array with one bool per graph.

    Raises:
        ValueError: the shapes of cells, positions or mask do not fit the plan.
    """
    planned = np.asarray(planned_cells, np.float64)
    graphs = planned.shape[:-2]
    positions = np.asarray(positions, np.float64)
    slots = positions.shape[:-1]
    mask = np.ones(slots, bool) if mask is None else np.asarray(mask, bool)
    compared = planned if cells is None else np.asarray(cells, np.float64)
    fits = compared.shape == planned.shape and mask.shape == slots
    if not fits or slots[:-1] != graphs or positions.ndim != planned.ndim:
        raise ValueError(
            f"The plan was made for cells of shape {list(planned.shape)}, got "
            f"{list(compared.shape)} with positions of shape {list(positions.shape)} "
            f"and a mask of shape {list(mask.shape)}: make one for these structures."
        )
    has_atoms = mask.any(axis=-1)
    if cells is None:
        return bool_or_array(~has_atoms)
    cells = compared
    # Singular cells and the cells of empty graphs are replaced before the solve.
    regular = np.isfinite(cells).all(axis=(-2, -1))
    regular &= np.abs(np.linalg.det(np.where(regular[..., None, None], cells, 0.0))) > 0
    compared = np.where((regular & has_atoms)[..., None, None], cells, np.eye(3))
    reference = np.where(has_atoms[..., None, None], planned, np.eye(3))
    strains = np.linalg.svd(np.linalg.solve(reference, compared), compute_uv=False)
    finite = (np.isfinite(positions).all(axis=-1) | ~mask).all(axis=-1)
    covered = regular & finite & (strains[..., 0] < limit)
    if limit_compression:
        covered &= strains[..., -1] > 1 / limit
    return bool_or_array(covered | ~has_atoms)


def bool_or_array(
    covered: np.ndarray | np.bool,
) -> bool | Bool[np.ndarray, " graphs"]:
    """A bool for one structure, an array for a batch."""
    return np.asarray(covered) if covered.ndim else bool(covered)


def concrete_positions(
    positions: Float[Array | np.ndarray, "atoms 3"],
    mask: Bool[Array | np.ndarray, " atoms"],
) -> Float[np.ndarray, "atoms 3"]:
    """The positions of one structure on the host; zeros if they or the mask are traced.

    Raises:
        ValueError: the position of a real atom is known and not finite.
    """
    if isinstance(positions, Tracer) or isinstance(mask, Tracer):
        return np.zeros(positions.shape)
    positions = np.asarray(positions, np.float64)
    check_finite(positions, np.asarray(mask, bool))
    return positions


def check_finite(
    positions: Float[np.ndarray, "*graphs atoms 3"],
    mask: Bool[np.ndarray, "*graphs atoms"],
) -> None:
    """Raises ValueError if the position of a real atom is not finite."""
    broken = ~np.isfinite(positions).all(axis=-1) & mask
    if broken.any():
        atom = int(np.argwhere(broken)[0, -1])
        raise ValueError(
            "`positions` of a real atom are not finite numbers, got "
            f"{positions[broken][0].tolist()} for atom {atom}: correct them, or "
            "exclude padding with `mask`."
        )


def check_positions(positions: Float[Array, "..."]) -> None:
    """Raises ValueError unless the positions are those of one structure."""
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(
            f"`positions` has shape [atoms, 3], got {list(positions.shape)}; for a "
            "batch of structures use `jax.vmap`."
        )


def check_mask(mask: Bool[Array, "..."] | None, atoms: int) -> None:
    """Raises ValueError unless the mask is one boolean per atom."""
    if mask is None or mask.dtype != bool or mask.shape != (atoms,):
        got = None if mask is None else f"{mask.dtype} of shape {list(mask.shape)}"
        raise ValueError(
            f"`mask` is true on real atoms, boolean of shape [{atoms}], got {got}: "
            f"pass `jnp.ones({atoms}, bool)` if there is no padding."
        )


def check_axes(positions: Float[Array | np.ndarray, "..."], *, batch: bool) -> None:
    """Raises ValueError if `layer.plan` got a batch or `layer.plan_for` did not."""
    shape = list(np.shape(positions))
    if batch and len(shape) == 2:
        raise ValueError(
            "`plan_for` takes a batch, `positions` of shape [graphs, slots, 3], got "
            f"{shape}: use `plan` for one structure."
        )
    if not batch and len(shape) == 3:
        raise ValueError(
            f"`plan` takes one structure, `positions` of shape [atoms, 3], got {shape}:"
            " use `plan_for` for a batch."
        )
