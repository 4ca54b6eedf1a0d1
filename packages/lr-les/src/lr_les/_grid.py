"""Integer vectors of the reciprocal lattice, chosen on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from ._lattice import checked_cells
from ._window import ON_SPHERE, ONSET, smooth_cutoff, window

# Room for the rounding of float32 when a cell is compared with the planned one.
_ROUNDING = 1.0 + 1e-4


class KGrid(eqx.Module):
    r"""The integer vectors that a reciprocal sum runs over, for one cell or a batch.

    Half of the lattice ($k$ and $-k$ count once). Wave vectors are not stored: they
    follow the cell that is passed with the grid, $k = 2\pi\, C^{-1} n$. Arrays carry a
    leading graph axis if `k_grid` was given a batch, and then pass through `jax.vmap`.

    Attributes:
        indices: the integers $n$, zero on padding.
        valid: false on padding.
        cell: the cell the vectors were chosen for, Å.
        onset: where the window begins to fall, 1/Å; equal to `end` for a sharp cut.
        end: no longer vector contributes, 1/Å.
        sigma: the smallest width that the window is made for, Å.
        stretch: the largest relative stretch of the cell that is covered.
    """

    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    cell: Float[Array, "*graphs 3 3"]
    onset: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)

    def covers(
        self, cells: Float[Array | np.ndarray, "*graphs 3 3"]
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether no vector is missing for these cells: a check for the host.

        Args:
            cells: one cell, or one for every graph of the grid, Å.

        Returns:
            One answer, or one for every graph.

        Raises:
            ValueError: the number of cells is not that of the grid.
        """
        cells = np.asarray(cells, np.float64)
        planned = np.asarray(self.cell, np.float64)
        if cells.shape != planned.shape:
            raise ValueError(
                f"The grid was made for cells of shape {list(planned.shape)}, got "
                f"{list(cells.shape)}."
            )
        deform = np.linalg.solve(planned, cells)
        covered = np.linalg.norm(deform, ord=2, axis=(-2, -1)) < self.stretch
        return covered if covered.ndim else bool(covered)

    def weights(
        self, squared: Float[Array, " vectors"], valid: Bool[Array, " vectors"]
    ) -> Float[Array, " vectors"]:
        """The window on vectors of squared length `squared` (1/Å²), 0 on padding."""
        return jnp.where(valid, window(squared, self.onset, self.end), 0.0)


def k_grid(
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    *,
    sigma: float = 1.0,
    tolerance: float = 1e-6,
    dl: float | None = None,
    margin: float = 1e-3,
    max_vectors: int = 1_000_000,
) -> KGrid:
    r"""The reciprocal vectors that a cell needs, made in numpy before tracing.

    The sum ends in a smooth window at $k_c$, which follows from `sigma` and
    `tolerance`; every $n$ with $|k| < k_c$ is in the grid for the given cell and for
    all cells that deform it by a stretch of at most `1 + margin`. Counts are rounded up
    to few sizes, so that few shapes are compiled.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        sigma: the smallest width the grid will be used with, Å.
        tolerance: error of the energy relative to $k_e \sum q^2/(\sigma\sqrt{2\pi})$,
            for charges without long-range order.
        dl: cut sharply at $k_c = 2\pi/dl$ (Å) instead, as in the published models;
            the energy then jumps when a vector crosses the sphere.
        margin: relative stretch of the cell that stays covered; molecular dynamics
            with a breathing cell wants 0.1.
        max_vectors: refuse to make grids larger than this, per structure.

    Returns:
        A grid for `energy`, with a leading graph axis if `cells` has one.

    Raises:
        ValueError: a cell is traced, singular or misshapen, a number is out of its
            range, or more than `max_vectors` vectors are needed.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    if isinstance(cells, Tracer):
        raise ValueError(
            "The cell is traced, so the size of its reciprocal grid is unknown: make "
            "one on the host with `k_grid(cells)` or `layer.plan_for(...)` and pass it "
            "as `grid` to `energy`, as `plan` to a layer."
        )
    _check_numbers(sigma, tolerance, dl, margin)
    cells = checked_cells(np.asarray(cells))
    end = smooth_cutoff(tolerance) / sigma if dl is None else 2 * math.pi / dl
    stretch = (1.0 + margin) * _ROUNDING
    indices, valid = _padded(
        [
            _half_sphere(cell, end * stretch * ON_SPHERE, max_vectors)
            for cell in cells.reshape(-1, 3, 3)
        ]
    )
    shape = (*cells.shape[:-2], indices.shape[1])
    return KGrid(
        indices=jnp.asarray(indices.reshape(*shape, 3)),
        valid=jnp.asarray(valid.reshape(shape)),
        cell=jnp.asarray(cells, jnp.result_type(float)),
        onset=ONSET * end if dl is None else end,
        end=end,
        sigma=sigma if dl is None else 0.0,
        stretch=stretch,
    )


def _check_numbers(
    sigma: float, tolerance: float, dl: float | None, margin: float
) -> None:
    if not sigma > 0:
        raise ValueError(f"`sigma` is a width and must be positive, got {sigma}.")
    if not 1e-15 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is a relative error between 1e-15 and 0.1, got {tolerance}."
        )
    if dl is not None and not dl > 0:
        raise ValueError(f"`dl` is a wavelength and must be positive, got {dl}.")
    if not margin >= 0:
        raise ValueError(
            f"`margin` is a strain and must not be negative, got {margin}."
        )


def _half_sphere(cell: np.ndarray, radius: float, max_vectors: int) -> np.ndarray:
    """Integers [vectors, 3] of one half of the vectors shorter than `radius`."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    most = np.floor(np.linalg.norm(cell, axis=1) * radius / (2 * math.pi)).astype(int)
    # A skew cell hides a small sphere in a large box of indices, which is searched.
    searched = (most[0] + 1.0) * np.prod(2.0 * most[1:] + 1.0)
    if expected > max_vectors or searched > 100 * max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors "
            f"(searched among {searched:.0f}), more than `max_vectors={max_vectors}`: "
            "widen `sigma` or `tolerance`, reduce the cell, or raise the limit."
        )
    dual = 2 * math.pi * np.linalg.inv(cell).T
    rest = [np.arange(-m, m + 1) for m in most[1:]]
    plane = np.stack(np.meshgrid(*rest, indexing="ij"), -1).reshape(-1, 2)
    planes = []
    for first in range(most[0] + 1):
        k = first * dual[0] + plane @ dual[1:]
        inside = np.sum(k * k, axis=1) < radius**2
        if first == 0:
            inside &= (plane[:, 0] > 0) | ((plane[:, 0] == 0) & (plane[:, 1] > 0))
        planes.append(np.insert(plane[inside], 0, first, axis=1))
    return np.concatenate(planes)


def _padded(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The graphs' vectors in one array of a rounded size, and which are theirs."""
    size = _rounded_up(max((len(part) for part in parts), default=0))
    indices = np.zeros((len(parts), size, 3), np.int32)
    valid = np.zeros((len(parts), size), bool)
    for i, part in enumerate(parts):
        indices[i, : len(part)] = part
        valid[i, : len(part)] = True
    return indices, valid


def _rounded_up(count: int) -> int:
    """The next of 16, 18, ..., 32, 36, ..., 64, 72, ...: at most an eighth too many."""
    step = 2
    while 16 * step < count:
        step *= 2
    return max(16, -(-count // step) * step)
