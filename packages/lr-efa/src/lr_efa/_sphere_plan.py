"""What the open form needs to know of molecules before tracing."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from ._cell_coverage import bool_or_array
from ._sphere import SphereGrid, extent


class SpherePlan(eqx.Module):
    """The grid of a layer's open form, and how far it reaches; it has no arrays.

    Attributes:
        grid: the quadrature's.
        reach: the largest extent of a structure that the grid serves at the layer's
            frequencies, Å: twice the largest distance of an atom from the centroid.
        ignores_cells: whether a cell is as if absent; otherwise none may be given.
    """

    grid: SphereGrid
    reach: float = eqx.field(static=True)
    ignores_cells: bool = eqx.field(static=True, default=False)

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether the grid reaches across these structures: a check for the host.

        Args:
            cells: None, unless the layer ignores cells.
            positions: of one structure or of a batch, Å.
            mask: false on padding, whose positions do not matter.

        Returns:
            One answer, or one for every graph.
        """
        live = np.ones(np.shape(positions)[:-1], bool) if mask is None else mask
        served = cells is None or self.ignores_cells
        within = extent(positions, live) <= self.reach
        return bool_or_array(within & served)
