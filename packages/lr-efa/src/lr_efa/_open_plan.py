"""The plan of the open form: its quadrature grid, chosen before tracing."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import is_traced
from ._lattice import bool_or_array, check_finite
from ._lebedev import LebedevGrid, extent, lebedev_grid


class OpenPlan(eqx.Module):
    """The quadrature grid of the open form and the extent that it covers.

    All fields are static: the plan has no array leaves, and one plan serves a structure
    and a batch.

    Attributes:
        grid: the quadrature grid.
        omega_max: highest frequency that the plan is used with, 1/Å.
        ignores_cells: whether cells are ignored; otherwise a structure with a cell is
            not covered.
    """

    grid: LebedevGrid
    omega_max: float = eqx.field(static=True, converter=float)
    ignores_cells: bool = eqx.field(static=True, default=False)

    @property
    def max_extent(self) -> float:
        """Largest extent of a structure that the grid covers, Å.

        The extent is twice the largest distance of an atom from the centroid.
        """
        return self.grid.max_phase / self.omega_max if self.omega_max > 0 else math.inf

    @classmethod
    def for_structures(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
        *,
        frequencies: Float[np.ndarray, " pairs"],
        degree: int = 0,
        margin: float = 0.1,
        accuracy: float = 1e-5,
        quadrature_grid: LebedevGrid | None = None,
        ignore_cells: bool = False,
    ) -> "OpenPlan":
        r"""Returns the plan for molecules; runs on the host, before tracing.

        Args:
            cells: None, unless `ignore_cells` is true.
            positions: atomic positions of one structure or of a batch, Å.
            mask: false on padding, whose positions are not used; None is no padding.
            frequencies: $\omega_k$ of the attention, 1/Å.
            degree: largest degree of the harmonics in the attention.
            margin: relative growth of the largest extent that remains covered.
            accuracy: error of the integral of one plane wave of unit amplitude.
            quadrature_grid: a grid that is used if it is sufficient; a larger one then
                has its accuracy.
            ignore_cells: whether the open form is applied to structures with cells.

        Raises:
            ValueError: there are cells, an argument is traced or out of range, or no
                grid is large enough.
        """
        if is_traced(positions, mask, frequencies):
            raise ValueError(
                "`positions` or `frequencies` are traced, so the quadrature grid they "
                "need is unknown: make the plan on the host, before tracing."
            )
        if cells is not None and not ignore_cells:
            raise ValueError(
                "An `OpenPlan` is for `cells=None`: make the plan of crystals with "
                "`ShellGrid.for_structures`, or pass `ignore_cells=True`."
            )
        if not margin >= 0:
            raise ValueError(f"`margin` must not be negative, got {margin}.")
        real = np.ones(np.shape(positions)[:-1], bool) if mask is None else mask
        check_finite(np.asarray(positions, np.float64), np.asarray(real, bool))
        omega_max = float(np.max(np.abs(frequencies), initial=0.0))
        largest = float(np.max(extent(positions, real), initial=0.0))
        phase, grid = (1.0 + margin) * omega_max * largest, quadrature_grid
        if grid is None or grid.max_phase < phase:
            accuracy = accuracy if grid is None else grid.accuracy
            grid = lebedev_grid(phase, accuracy, degree=degree)
        return cls(grid, omega_max, ignore_cells)

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Returns whether the grid covers these structures; runs on the host.

        Args:
            cells: None, unless cells are ignored.
            positions: atomic positions of one structure or of a batch, Å.
            mask: false on padding, whose positions are not used; None is no padding.

        Returns:
            One bool, or one per graph.
        """
        real = np.ones(np.shape(positions)[:-1], bool) if mask is None else mask
        is_open = cells is None or self.ignores_cells
        within = extent(positions, real) <= self.max_extent
        return bool_or_array(within & is_open)
