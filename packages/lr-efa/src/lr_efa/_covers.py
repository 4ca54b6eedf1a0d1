"""Which cells a plan serves: a check for the host."""

import numpy as np
from jaxtyping import Array, Bool, Float


def covered_cells(
    planned: Float[Array, "*graphs 3 3"],
    cells: Float[Array | np.ndarray, "..."] | None,
    mask: Bool[Array | np.ndarray, "..."] | None,
    limit: float,
    *,
    both_ways: bool = False,
) -> bool | Bool[np.ndarray, " graphs"]:
    """Whether each cell is the planned one, but for a strain within a limit.

    Args:
        planned: the cell, or the cells of all graphs, that the plan was made for, Å.
        cells: as many cells, Å; None is open, which no lattice sum serves.
        mask: false on padding; the cell of a graph without atoms does not matter.
        limit: no direction became longer than so many times itself.
        both_ways: whether none became shorter by more than that factor either.

    Returns:
        One answer, or one for every graph.

    Raises:
        ValueError: the number of cells or the graphs of the mask are not the plan's.
    """
    references = np.asarray(planned, np.float64)
    graphs = references.shape[:-2]
    matters = np.ones(graphs, bool)
    if mask is not None:
        matters = np.asarray(mask, bool).any(axis=-1)
    if cells is None:
        return one_or_all(~matters)
    host = np.asarray(cells, np.float64)
    if host.shape != references.shape or matters.shape != graphs:
        masks = "" if mask is None else f" and a mask of shape {list(np.shape(mask))}"
        raise ValueError(
            f"The plan was made for cells of shape {list(references.shape)}, got "
            f"{list(host.shape)}{masks}: make one for these structures."
        )
    # What does not matter, and what spans no space, takes no part in the arithmetic.
    spans = np.isfinite(host).all(axis=(-2, -1))
    spans &= np.abs(np.linalg.det(np.where(spans[..., None, None], host, 0.0))) > 0
    own = np.where((spans & matters)[..., None, None], host, np.eye(3))
    reference = np.where(matters[..., None, None], references, np.eye(3))
    strains = np.linalg.svd(np.linalg.solve(reference, own), compute_uv=False)
    within = spans & (strains[..., 0] < limit)
    if both_ways:
        within &= strains[..., -1] > 1 / limit
    return one_or_all(within | ~matters)


def one_or_all(
    answers: np.ndarray | np.bool,
) -> bool | Bool[np.ndarray, " graphs"]:
    """A bool for one structure, an array for a batch."""
    return np.asarray(answers) if answers.ndim else bool(answers)
