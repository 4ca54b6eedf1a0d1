"""The choice between the direct sum over vectors and the mesh, by speed."""

import math

import numpy as np
from jaxtyping import Array, Bool, Float

from ._checks import cells_of_structures
from ._grid import KGrid
from ._mesh import Mesh
from ._window import smooth_cutoff

# Atoms times vectors above which the mesh is faster, in evaluation and in training; see
# the last table of the benchmark `speed.py`.
_CROSSOVER = 2e5
# No mesh reaches a smaller tolerance.
_MIN_MESH_TOLERANCE = 1e-8


def lattice_plan(
    cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
    positions: Float[Array | np.ndarray, "*graphs slots 3"],
    mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    *,
    sigma: float = 1.0,
    tolerance: float = 1e-6,
    margin: float = 1e-3,
    power: int = 0,
) -> KGrid | Mesh | None:
    r"""Returns a `KGrid` for small structures or a `Mesh` for large ones, on the host.

    The mesh is chosen where it is faster, which follows from the product of atoms and
    vectors. The choice depends only on the number of atoms with padding and the largest
    cell, so that it is the same for all batches of one bucket.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å; None is open.
        positions: atomic positions, Å, with the batch axis of the cells; only their
            number is used.
        mask: not used.
        sigma: smallest width of the interaction that the plan is used with, Å.
        tolerance: relative error of the energy, see `KGrid.for_structures`.
        margin: relative strain of the cell that remains covered.
        power: power of $k$ from the multipoles and the kernel, see
            `KGrid.for_structures`.

    Returns:
        A value for the `plan` argument of `energy`, with a leading batch axis if
        `cells` has one; None in open boundaries, which need no plan.

    Raises:
        ValueError: a cell is traced, singular or of a wrong shape, an argument is out
            of range, or the sum would be too large.
    """
    if cells is None:
        return None
    host_cells = cells_of_structures(cells, positions)
    sigma, tolerance, power = float(sigma), float(tolerance), int(power)
    kind = KGrid
    if sigma > 0 and _MIN_MESH_TOLERANCE <= tolerance <= 0.1:
        cutoff = smooth_cutoff(tolerance, power) / sigma
        volume = np.max(np.abs(np.linalg.det(host_cells)), initial=0.0)
        atoms = positions.shape[-2]
        if atoms * volume * cutoff**3 / (12 * math.pi**2) > _CROSSOVER:
            kind = Mesh
    return kind.for_structures(
        cells,
        positions,
        mask,
        sigma=sigma,
        tolerance=tolerance,
        margin=margin,
        power=power,
    )
