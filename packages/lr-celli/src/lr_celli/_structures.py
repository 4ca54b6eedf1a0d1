"""Cells and masks of the structures that a plan is made for, on the host."""

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._lattice import concrete_cells


def planned_structures(
    cells: Float[Array | np.ndarray, "..."],
    positions: Float[Array | np.ndarray, "..."],
    mask: Bool[Array | np.ndarray, "..."] | None,
    constructor: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells in float64, the cells that the plan's terms are for, and the mask.

    The second differ from the first in graphs without atoms: the identity cell of such
    a graph would need thousands of images, so it gets the cell of another graph.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        positions: only the shape is used.
        mask: false on padding; None means no padding.
        constructor: what makes a plan on the host, for error messages.

    Raises:
        ValueError: a cell is traced or singular, or shapes are inconsistent.
    """
    shape = tuple(positions.shape)
    mask = np.ones(shape[:-1], bool) if mask is None else np.asarray(mask, bool)
    has_atoms, used = mask.any(axis=-1), cells
    if not isinstance(cells, Tracer) and has_atoms.shape == np.shape(cells)[:-2]:
        host = np.asarray(cells, np.float64)
        replacement = host[has_atoms][0] if has_atoms.any() else 10 * np.eye(3)
        used = np.where(has_atoms[..., None, None], host, replacement)
    used = concrete_cells(used, constructor)
    if shape[-1] != 3 or shape[:-2] != used.shape[:-2] or len(shape) != used.ndim:
        raise ValueError(
            "`positions` has shape [atoms, 3] for a cell [3, 3] and [graphs, slots, 3] "
            f"for cells [graphs, 3, 3], got {list(shape)} for cells of shape "
            f"{list(used.shape)}."
        )
    if mask.shape != shape[:-1]:
        raise ValueError(
            f"`mask` has shape {list(shape[:-1])} for positions of shape "
            f"{list(shape)}, got {list(mask.shape)}."
        )
    return np.asarray(cells, np.float64), used, mask
