"""A mesh for the reciprocal sum of large cells, sized on the host."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._checks import cells_of_structures, check_positive
from ._lattice import ROUNDING, covered_cells
from ._reduction import reduced_basis

# Tolerance, order of the splines and spacing in units of sigma, such that errors of
# forces are a few tolerances; measured with the benchmark `accuracy_of_meshes.py`.
_RULES = (
    (1e-4, 6, 0.45),
    (1e-5, 8, 0.5),
    (1e-6, 8, 0.4),
    (1e-7, 10, 0.4),
    (1e-8, 10, 0.33),
)


class Mesh(eqx.Module):
    r"""A regular mesh over the cell, for one cell or a batch.

    The mesh deforms with the cell that is passed with it, so that the energy is a
    smooth function of the cell. Its axes are a reduced basis $U C$ of the lattice.
    Arrays have a leading batch axis, for `jax.vmap`, if it was made for a batch.

    Attributes:
        basis: the integers $U$.
        cell: the cell for which the mesh was made, Å.
        shape: number of points along each axis, common to a batch.
        order: order of the B-splines that spread the charges.
        sigma: smallest width of the interaction that the mesh can be used with, Å.
        max_stretch: factor by which the cell may be stretched.
        power: power of $k$ for which the order was chosen, see `KGrid.for_structures`.
    """

    basis: Int[Array, "*graphs 3 3"]
    cell: Float[Array, "*graphs 3 3"]
    shape: tuple[int, int, int] = eqx.field(static=True)
    order: int = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    max_stretch: float = eqx.field(static=True)
    power: int = eqx.field(static=True)

    @classmethod
    def for_structures(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
        *,
        sigma: float = 1.0,
        tolerance: float = 1e-5,
        margin: float = 1e-3,
        power: int = 0,
        max_points: int = 100_000_000,
    ) -> "Mesh | None":
        r"""Returns the mesh for cells; runs on the host, before tracing.

        Time and memory are proportional to the atoms plus the mesh points, not to their
        product: with more than some hundred atoms it is faster than a `KGrid`. Forces
        are the exact derivatives of the energy on the mesh. They sum to zero, and the
        energy is invariant under translations, only to `tolerance`.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å; None is open.
            positions: atomic positions, Å, with the batch axis of the cells; not used.
            mask: not used.
            sigma: smallest width of the interaction that the mesh is used with, Å.
            tolerance: error of the energy relative to the self energy, and
                approximately the relative error of the forces, for charges without
                long-range order; at least 1e-8.
            margin: relative strain of the cell that remains covered.
            power: 0 for charges, 2 with dipoles, 4 with quadrupoles, plus
                `kernel.power`.
            max_points: upper limit of the number of mesh points per structure.

        Returns:
            A plan for `energy`, with a leading batch axis if `cells` has one; None in
            open boundaries, which need no plan.

        Raises:
            ValueError: a cell is traced, singular or of a wrong shape, an argument is
                out of range, or more than `max_points` points are needed.

        References:
            Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
        """
        del mask
        if cells is None:
            return None
        cells = cells_of_structures(cells, positions)
        sigma, tolerance, margin = float(sigma), float(tolerance), float(margin)
        power = int(power)
        check_positive("sigma", "width", sigma)
        order, spacing = _rule(tolerance, power)
        stretch = (1.0 + margin) * ROUNDING
        flat_cells = cells.reshape(-1, 3, 3)
        bases = np.array(
            [reduced_basis(cell) for cell in flat_cells], np.int32
        ).reshape(-1, 3, 3)
        lengths = np.linalg.norm(bases.astype(float) @ flat_cells, axis=-1)
        points = np.max(lengths, axis=0, initial=0.0) * stretch / (spacing * sigma)
        first, second, third = (
            _fft_size(max(order, int(np.ceil(count)))) for count in points
        )
        shape = first, second, third
        if np.prod(shape, dtype=float) > max_points:
            largest = flat_cells[np.argmax(lengths.prod(-1))]
            raise ValueError(
                f"The cell {largest.tolist()} needs a mesh of "
                f"{' x '.join(map(str, shape))} points, more than "
                f"`max_points={max_points}`: widen `sigma` or `tolerance`, reduce the "
                "cell, or raise the limit."
            )
        return cls(
            basis=jnp.asarray(bases.reshape(cells.shape)),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            shape=shape,
            order=order,
            sigma=sigma,
            max_stretch=stretch,
            power=power,
        )

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Returns whether the mesh is fine enough for these cells; runs on the host.

        Args:
            cells: one cell, or one per graph, Å; None is open, which is not covered.
            positions: Å; if not finite for a real atom, not covered.
            mask: false on padding; graphs without atoms are covered. None is no
                padding.

        Returns:
            One bool, or one per graph.

        Raises:
            ValueError: the number of cells differs from that of the mesh.
        """
        return covered_cells(self.cell, cells, positions, mask, self.max_stretch)


def _rule(tolerance: float, power: int) -> tuple[int, float]:
    for reached_tolerance, order, spacing in _RULES:
        if reached_tolerance <= tolerance <= 0.1:
            return order + power, spacing
    raise ValueError(
        f"`tolerance` of a mesh is a relative error between {_RULES[-1][0]} and 0.1, "
        f"got {tolerance}; use a `KGrid` for a smaller tolerance."
    )


def _fft_size(minimum: int) -> int:
    """Returns the next even size without prime factors above five, for a fast FFT."""
    size = minimum + minimum % 2
    while True:
        cofactor = size
        for prime in (2, 3, 5):
            while cofactor % prime == 0:
                cofactor //= prime
        if cofactor == 1:
            return size
        size += 2
