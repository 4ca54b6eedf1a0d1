"""The plan of the open form: its quadrature grid, chosen before tracing."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from ._lattice import bool_or_array
from ._lebedev import LebedevGrid, extent


class OpenPlan(eqx.Module):
    """The quadrature grid of a layer's open form and the extent that it covers.

    All fields are static: the plan has no array leaves.

    Attributes:
        grid: the quadrature grid.
        max_extent: largest extent of a structure that the grid covers at the
            frequencies of the layer, Å; the extent is twice the largest distance of an
            atom from the centroid.
        ignores_cells: whether the layer ignores cells; otherwise a structure with a
            cell is not covered.
    """

    grid: LebedevGrid
    max_extent: float = eqx.field(static=True)
    ignores_cells: bool = eqx.field(static=True, default=False)

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Returns whether the grid covers these structures; runs on the host.

        Args:
            cells: None, unless the layer ignores cells.
            positions: atomic positions of one structure or of a batch, Å.
            mask: false on padding, whose positions are not used; None is no padding.

        Returns:
            One bool, or one per graph.
        """
        real = np.ones(np.shape(positions)[:-1], bool) if mask is None else mask
        is_open = cells is None or self.ignores_cells
        within = extent(positions, real) <= self.max_extent
        return bool_or_array(within & is_open)
