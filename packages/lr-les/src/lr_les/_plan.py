"""The choice between the direct sum over vectors and the mesh, by speed."""

import math

import numpy as np
from jaxtyping import Array, Float

from ._grid import KGrid, k_grid
from ._lattice import concrete_cells
from ._mesh import Mesh, mesh
from ._window import smooth_cutoff

# Atoms times vectors above which the mesh is faster, in evaluation and in training; see
# the last table of the benchmark `speed.py`.
_CROSSOVER = 2e5
# No mesh reaches a smaller tolerance.
_MIN_MESH_TOLERANCE = 1e-8


def lattice_plan(
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    num_atoms: int,
    *,
    sigma: float = 1.0,
    tolerance: float = 1e-6,
    margin: float = 1e-3,
    power: int = 0,
) -> KGrid | Mesh:
    r"""Returns a `k_grid` for small structures or a `mesh` for large ones, on the host.

    The mesh is chosen where it is faster, which follows from the product of atoms and
    vectors. The choice depends only on `num_atoms` and the largest cell, so that it is
    the same for all batches of one bucket.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        num_atoms: number of atoms per structure, including padding.
        sigma: smallest width of the interaction that the plan is used with, Å.
        tolerance: relative error of the energy, see `k_grid`.
        margin: relative stretch of the cell that remains covered.
        power: power of $k$ from the multipoles and the kernel, see `k_grid`.

    Returns:
        A value for the `grid` argument of `energy`.

    Raises:
        ValueError: a cell is traced, singular or of a wrong shape, an argument is out
            of range, or the sum would be too large.
    """
    host_cells = concrete_cells(cells, "`lattice_plan(...)` or `layer.plan_for(...)`")
    sigma, tolerance, power = float(sigma), float(tolerance), int(power)
    settings = {
        "sigma": sigma,
        "tolerance": tolerance,
        "margin": margin,
        "power": power,
    }
    if sigma > 0 and _MIN_MESH_TOLERANCE <= tolerance <= 0.1:
        cutoff = smooth_cutoff(tolerance, power) / sigma
        volume = np.max(np.abs(np.linalg.det(host_cells)), initial=0.0)
        if num_atoms * volume * cutoff**3 / (12 * math.pi**2) > _CROSSOVER:
            return mesh(cells, **settings)
    return k_grid(cells, **settings)
