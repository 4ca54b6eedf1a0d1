"""A mesh for the reciprocal sum of large cells, sized on the host."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._cell_coverage import covered_cells
from ._coverage import ROUNDING, concrete_cells, positive
from ._reduction import reduced_basis

# Tolerance, order of the splines and spacing in units of sigma, so that forces keep
# within a few tolerances; measured, see the benchmark `accuracy_of_meshes.py`.
_RULES = (
    (1e-4, 6, 0.45),
    (1e-5, 8, 0.5),
    (1e-6, 8, 0.4),
    (1e-7, 10, 0.4),
    (1e-8, 10, 0.33),
)


class Mesh(eqx.Module):
    r"""A regular mesh over the cell, for one cell or a batch.

    The mesh deforms with the cell that is passed with it, so the energy stays smooth
    when the cell breathes. Its axes are a reduced basis $U C$ of the lattice. Arrays
    carry a leading graph axis if `mesh` was given a batch, and then pass through
    `jax.vmap`.

    Attributes:
        basis: the integers $U$.
        cell: the cell the mesh was made for, Å.
        shape: points along each axis, common to a batch.
        order: of the splines that spread the charges.
        sigma: the smallest width that the spacing is made for, Å.
        stretch: the largest relative stretch of the cell that is covered.
        power: the power of $k$ that the tolerance allows for.
    """

    basis: Int[Array, "*graphs 3 3"]
    cell: Float[Array, "*graphs 3 3"]
    shape: tuple[int, int, int] = eqx.field(static=True)
    order: int = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)
    power: int = eqx.field(static=True)

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"] | None = None,
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether the mesh is fine enough for these cells: a check for the host.

        Args:
            cells: one cell, or one for every graph, Å; None is open: not covered.
            positions: not used.
            mask: false on padding; the cell of a graph without atoms does not matter.

        Returns:
            One answer, or one for every graph.

        Raises:
            ValueError: the number of cells is not that of the mesh.
        """
        del positions
        return covered_cells(self.cell, cells, mask, self.stretch)


def mesh(
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    *,
    sigma: float = 1.0,
    tolerance: float = 1e-5,
    margin: float = 1e-3,
    power: int = 0,
    max_points: int = 100_000_000,
) -> Mesh:
    r"""The mesh that a cell needs, sized in numpy before tracing.

    Time and memory grow as the atoms plus the points, not as their product: beyond some
    hundred atoms it is faster than `k_grid`. Forces are the exact derivatives of the
    mesh's energy; they sum to zero, and the energy keeps still under translations,
    only to `tolerance`.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        sigma: the smallest width the mesh will be used with, Å.
        tolerance: error of the energy relative to that of each charge with itself, and
            about that of the forces, for charges without long-range order; at least
            1e-8.
        margin: relative stretch of the cell that stays covered.
        power: 0 for charges, 2 with dipoles, 4 with quadrupoles, plus the kernel's own.
        max_points: refuse to make meshes larger than this, per structure.

    Returns:
        A mesh for `energy`, with a leading graph axis if `cells` has one.

    Raises:
        ValueError: a cell is traced, singular or misshapen, a number is out of its
            range, or more than `max_points` points are needed.

    References:
        Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
    """
    cells = concrete_cells(cells)
    sigma, tolerance, margin = float(sigma), float(tolerance), float(margin)
    power = int(power)
    positive("sigma", "width", sigma)
    order, spacing = _rule(tolerance, power)
    stretch = (1.0 + margin) * ROUNDING
    flat = cells.reshape(-1, 3, 3)
    bases = np.array([reduced_basis(cell) for cell in flat], np.int32).reshape(-1, 3, 3)
    lengths = np.linalg.norm(bases.astype(float) @ flat, axis=-1)
    needed = np.max(lengths, axis=0, initial=0.0) * stretch / (spacing * sigma)
    first, second, third = (
        _smooth_size(max(order, int(np.ceil(points)))) for points in needed
    )
    shape = first, second, third
    if np.prod(shape, dtype=float) > max_points:
        raise ValueError(
            f"The cell {flat[np.argmax(lengths.prod(-1))].tolist()} needs a mesh of "
            f"{' x '.join(map(str, shape))} points, more than "
            f"`max_points={max_points}`: widen `sigma` or `tolerance`, reduce the "
            "cell, or raise the limit."
        )
    return Mesh(
        basis=jnp.asarray(bases.reshape(cells.shape)),
        cell=jnp.asarray(cells, jnp.result_type(float)),
        shape=shape,
        order=order,
        sigma=sigma,
        stretch=stretch,
        power=power,
    )


def _rule(tolerance: float, power: int) -> tuple[int, float]:
    for reached, order, spacing in _RULES:
        if reached <= tolerance <= 0.1:
            return order + power, spacing
    raise ValueError(
        f"`tolerance` of a mesh is a relative error between {_RULES[-1][0]} and 0.1, "
        f"got {tolerance}; use `k_grid` for less."
    )


def _smooth_size(least: int) -> int:
    """The next even size without prime factors above five, fast to transform."""
    size = least + least % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
