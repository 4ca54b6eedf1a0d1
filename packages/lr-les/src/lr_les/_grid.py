"""Integer vectors of the reciprocal lattice, chosen on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._cell_coverage import covered_cells
from ._coverage import ROUNDING, concrete_cells, positive
from ._reduction import reduced_basis
from ._window import ON_SPHERE, ONSET, smooth_cutoff, window


class KGrid(eqx.Module):
    r"""The integer vectors that a reciprocal sum runs over, for one cell or a batch.

    Wave vectors are not stored: they follow the cell that is passed with the grid,
    $k = 2\pi\, (U C)^{-1} n$ with a reduced basis $U C$ of the lattice. The integers
    are $n = (n_1, n_2, \pm n_3)$ for every pair $(n_1, n_2)$ and every $n_3$, half of
    the lattice ($k$ and $-k$ count once), so that every wave is a product of two.
    Arrays carry a leading graph axis if `k_grid` was given a batch, and then pass
    through `jax.vmap`.

    Attributes:
        pairs: $n_1$ and $n_2$, zero on padding.
        valid: false on padding.
        depth: $n_3$ = 0, 1, ...
        basis: the integers $U$.
        cell: the cell the vectors were chosen for, Å.
        onset: where the window begins to fall, 1/Å; equal to `end` for a sharp cut.
        end: no longer vector contributes, 1/Å.
        sigma: the smallest width that the window is made for, Å.
        stretch: the largest relative stretch of the cell that is covered.
        power: the power of $k$ that the tolerance allows for.
    """

    pairs: Int[Array, "*graphs pairs 2"]
    valid: Bool[Array, "*graphs pairs"]
    depth: Int[Array, "*graphs depth"]
    basis: Int[Array, "*graphs 3 3"]
    cell: Float[Array, "*graphs 3 3"]
    onset: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)
    power: int = eqx.field(static=True)

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"] | None = None,
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether no vector is missing for these cells: a check for the host.

        Args:
            cells: one cell, or one for every graph, Å; None is open: not covered.
            positions: not used.
            mask: false on padding; the cell of a graph without atoms does not matter.

        Returns:
            One answer, or one for every graph.

        Raises:
            ValueError: the number of cells is not that of the grid.
        """
        del positions
        return covered_cells(self.cell, cells, mask, self.stretch)

    def window(self, squared: Float[Array, "*vectors"]) -> Float[Array, "*vectors"]:
        """The weight of vectors of squared length `squared` (1/Å²)."""
        return window(squared, self.onset, self.end)


def k_grid(
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    *,
    sigma: float = 1.0,
    tolerance: float = 1e-6,
    dl: float | None = None,
    margin: float = 1e-3,
    power: int = 0,
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
        tolerance: error of the energy relative to that of each charge with itself,
            $k_e \sum q^2/(\sigma\sqrt{2\pi})$, for charges without long-range order.
        dl: cut sharply at $k_c = 2\pi/dl$ (Å) instead, as in the published models;
            the energy then jumps when a vector crosses the sphere.
        margin: relative stretch of the cell that stays covered; molecular dynamics
            with a breathing cell wants 0.1.
        power: 0 for charges, 2 with dipoles, 4 with quadrupoles, plus the kernel's own.
        max_vectors: refuse to make grids larger than this, per structure.

    Returns:
        A grid for `energy`, with a leading graph axis if `cells` has one.

    Raises:
        ValueError: a cell is traced, singular or misshapen, a number is out of its
            range, or more than `max_vectors` vectors are needed.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """
    cells = concrete_cells(cells)
    sigma, tolerance, margin = float(sigma), float(tolerance), float(margin)
    dl, power = None if dl is None else float(dl), int(power)
    check_numbers(sigma, tolerance, dl, margin)
    end = smooth_cutoff(tolerance, power) / sigma if dl is None else 2 * math.pi / dl
    stretch = (1.0 + margin) * ROUNDING
    flat = cells.reshape(-1, 3, 3)
    bases = np.array([reduced_basis(cell) for cell in flat], np.int32).reshape(-1, 3, 3)
    reach = end * stretch * ON_SPHERE
    parts = [
        _pairs_within(reduced, reach, max_vectors)
        for reduced in bases.astype(float) @ flat
    ]
    pairs, valid = _padded([part[0] for part in parts])
    deepest = _rounded_up(max((part[1] for part in parts), default=0) + 1, 4)
    lead = cells.shape[:-2]
    return KGrid(
        pairs=jnp.asarray(pairs.reshape(*lead, -1, 2)),
        valid=jnp.asarray(valid.reshape(*lead, -1)),
        depth=jnp.broadcast_to(jnp.arange(deepest, dtype=jnp.int32), (*lead, deepest)),
        basis=jnp.asarray(bases.reshape(cells.shape)),
        cell=jnp.asarray(cells, jnp.result_type(float)),
        onset=ONSET * end if dl is None else end,
        end=end,
        sigma=sigma if dl is None else 0.0,
        stretch=stretch,
        power=power,
    )


def check_numbers(
    sigma: float, tolerance: float, dl: float | None, margin: float
) -> None:
    """Refuses what no grid can be made for."""
    positive("sigma", "width", sigma)
    if not 1e-15 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is a relative error between 1e-15 and 0.1, got {tolerance}."
        )
    if dl is not None:
        positive("dl", "wavelength", dl)
    if not margin >= 0:
        raise ValueError(
            f"`margin` is a strain and must not be negative, got {margin}."
        )


def _pairs_within(
    cell: np.ndarray, radius: float, max_vectors: int
) -> tuple[np.ndarray, int]:
    """Pairs of one half of the vectors shorter than `radius`, and the largest third."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    if expected > max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors, "
            f"more than `max_vectors={max_vectors}`: widen `sigma` or `tolerance`, "
            "reduce the cell, raise the limit, or use `mesh`."
        )
    most = np.floor(np.linalg.norm(cell, axis=1) * radius / (2 * math.pi)).astype(int)
    first, second = np.arange(most[0] + 1), np.arange(-most[1], most[1] + 1)
    pairs = np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)
    pairs = pairs[(pairs[:, 0] > 0) | (pairs[:, 1] >= 0)]
    dual = 2 * math.pi * np.linalg.inv(cell).T
    k = pairs @ dual[:2]
    third = np.rint(-(k @ dual[2]) / (dual[2] @ dual[2]))
    k = k + third[:, None] * dual[2]
    return pairs[np.sum(k * k, axis=1) < radius**2], int(most[2])


def _padded(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The graphs' pairs in one array of a rounded size, and which are theirs."""
    size = _rounded_up(max((len(part) for part in parts), default=0), 8)
    pairs = np.zeros((len(parts), size, 2), np.int32)
    valid = np.zeros((len(parts), size), bool)
    for i, part in enumerate(parts):
        pairs[i, : len(part)] = part
        valid[i, : len(part)] = True
    return pairs, valid


def _rounded_up(count: int, parts: int) -> int:
    """The next of few sizes, `parts` of them to every power of two."""
    step = 1
    while 2 * parts * step < count:
        step *= 2
    return max(parts, -(-count // step) * step)
