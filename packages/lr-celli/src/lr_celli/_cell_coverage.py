"""Comparison, on the host, of cells with the cells that a plan was made for."""

import numpy as np
from jaxtyping import Array, Bool, Float


def covered_cells(
    planned_cells: Float[Array, "*graphs 3 3"],
    cells: Float[Array | np.ndarray, "..."] | None,
    mask: Bool[Array | np.ndarray, "..."] | None,
    limit: float,
    *,
    limit_compression: bool = False,
) -> bool | Bool[np.ndarray, " graphs"]:
    """Whether each cell equals the planned one up to a limited strain.

    Args:
        planned_cells: the cell, or one cell per graph, that the plan was made for, Å.
        cells: the same number of cells, Å; None means open boundaries, which no
            lattice sum covers.
        mask: false on padding; graphs without atoms count as covered. None means that
            every graph has atoms.
        limit: factor below which the largest singular value of the deformation must
            be.
        limit_compression: whether the smallest singular value must also be above
            `1 / limit`.

    Returns:
        A bool for one cell, or an array with one bool per graph.

    Raises:
        ValueError: the shapes of cells or mask differ from those of the plan.
    """
    planned = np.asarray(planned_cells, np.float64)
    graphs = planned.shape[:-2]
    has_atoms = np.ones(graphs, bool)
    if mask is not None:
        has_atoms = np.asarray(mask, bool).any(axis=-1)
    if cells is None:
        return bool_or_array(~has_atoms)
    cells = np.asarray(cells, np.float64)
    if cells.shape != planned.shape or has_atoms.shape != graphs:
        masks = "" if mask is None else f" and a mask of shape {list(np.shape(mask))}"
        raise ValueError(
            f"The plan was made for cells of shape {list(planned.shape)}, got "
            f"{list(cells.shape)}{masks}: make one for these structures."
        )
    # Singular cells and the cells of empty graphs are replaced before the solve.
    regular = np.isfinite(cells).all(axis=(-2, -1))
    regular &= np.abs(np.linalg.det(np.where(regular[..., None, None], cells, 0.0))) > 0
    compared = np.where((regular & has_atoms)[..., None, None], cells, np.eye(3))
    reference = np.where(has_atoms[..., None, None], planned, np.eye(3))
    strains = np.linalg.svd(np.linalg.solve(reference, compared), compute_uv=False)
    covered = regular & (strains[..., 0] < limit)
    if limit_compression:
        covered &= strains[..., -1] > 1 / limit
    return bool_or_array(covered | ~has_atoms)


def bool_or_array(
    covered: np.ndarray | np.bool,
) -> bool | Bool[np.ndarray, " graphs"]:
    """A bool for one structure, an array for a batch."""
    return np.asarray(covered) if covered.ndim else bool(covered)
