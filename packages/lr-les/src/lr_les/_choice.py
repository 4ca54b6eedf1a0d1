"""Vector by vector or on a mesh: whichever is faster for so many atoms."""

import math

import numpy as np
from jaxtyping import Array, Float

from ._coverage import concrete_cells
from ._grid import KGrid, k_grid
from ._mesh import Mesh, mesh
from ._window import smooth_cutoff

# Atoms times vectors above which the mesh is faster, forward and in training; measured,
# last table of the benchmark `speed.py`. Tolerances below the finest mesh take vectors.
_CROSSOVER = 2e5
_FINEST = 1e-8


def lattice_plan(
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    atoms: int,
    *,
    sigma: float = 1.0,
    tolerance: float = 1e-6,
    margin: float = 1e-3,
    power: int = 0,
) -> KGrid | Mesh:
    """A `k_grid` for small structures, a `mesh` for large ones, on the host.

    The choice depends on the number of atoms and the largest cell alone, so it is the
    same for all batches of one bucket, and a mesh is chosen where the product of atoms
    and vectors says that it is faster.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        atoms: per structure, with padding.
        sigma: the smallest width it will be used with, Å.
        tolerance: relative error of the energy, see `k_grid`.
        margin: relative stretch of the cell that stays covered.
        power: see `k_grid`.

    Returns:
        Either is a `grid` for `energy`.

    Raises:
        ValueError: a cell is traced, singular or misshapen, a number is out of its
            range, or the sum would be too large.
    """
    host = concrete_cells(cells)
    sigma, tolerance, power = float(sigma), float(tolerance), int(power)
    settings = {
        "sigma": sigma,
        "tolerance": tolerance,
        "margin": margin,
        "power": power,
    }
    if sigma > 0 and _FINEST <= tolerance <= 0.1:
        end = smooth_cutoff(tolerance, power) / sigma
        volume = np.max(np.abs(np.linalg.det(host)), initial=0.0)
        if atoms * volume * end**3 / (12 * math.pi**2) > _CROSSOVER:
            return mesh(cells, **settings)
    return k_grid(cells, **settings)
