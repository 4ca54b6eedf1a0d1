"""Choice between the dense Coulomb matrix and the matrix-free operator."""

import numpy as np
from jaxtyping import Array, Bool, Float

from ._coulomb import coulomb_sums
from ._ewald import Ewald
from ._operator import CoulombOperator, coulomb_operator
from ._particle_mesh import ParticleMesh
from ._sums import CoulombSums

# Number of slots above which "auto" is iterative if all widths are below
# `_REFERENCE_WIDTH`, and the power of the largest width with which that number grows;
# measured with benchmarks/scaling.py.
_CROSSOVER, _REFERENCE_WIDTH, _WIDTH_POWER = 500, 1.2, 1.5


def make_plan(
    cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
    positions: Float[Array | np.ndarray, "*graphs slots 3"],
    mask: Bool[Array | np.ndarray, "*graphs slots"] | None,
    *,
    solver: str,
    width_bounds: tuple[float, float],
    tolerance: float | None,
    margin: float,
) -> Ewald | ParticleMesh | None:
    """Makes the plan of the lattice sums for a solver, on the host.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å; None means open
            boundaries, for which there is no plan.
        positions: Å.
        mask: false on padding; None means no padding.
        solver: "dense", "iterative" or "auto".
        width_bounds: smallest and largest width of the Gaussians, Å.
        tolerance: error of the Coulomb sum; None is the default of each solver.
        margin: relative strain of the cells that the plan covers.
    """
    ratio = max(1.0, width_bounds[1] / _REFERENCE_WIDTH)
    large = positions.shape[-2] >= _CROSSOVER * ratio**_WIDTH_POWER
    if solver == "iterative" or (solver == "auto" and large):
        return ParticleMesh.for_structures(
            cells,
            positions,
            mask,
            width_max=width_bounds[1],
            tolerance=1e-6 if tolerance is None else tolerance,
            margin=margin,
        )
    return Ewald.for_structures(
        cells,
        positions,
        mask,
        width_bounds=width_bounds,
        tolerance=tolerance,
        margin=margin,
    )


def coulomb_sums_or_operator(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"] | None,
    plan: Ewald | ParticleMesh | None,
    mask: Bool[Array, " atoms"],
) -> CoulombSums | CoulombOperator:
    """The Coulomb interaction: an operator if the plan is a mesh, else its sums."""
    if not isinstance(plan, Ewald | ParticleMesh | None):
        raise ValueError(
            f"`plan` is an `Ewald` or a `ParticleMesh`, got a {type(plan).__name__}: "
            "make one for this structure with `layer.plan(...)`."
        )
    if not isinstance(plan, ParticleMesh):
        return coulomb_sums(widths, positions, cell, plan=plan, mask=mask)
    if cell is None:
        raise ValueError("A `ParticleMesh` needs a `cell`; open boundaries have none.")
    return coulomb_operator(widths, positions, cell, plan=plan, mask=mask)
