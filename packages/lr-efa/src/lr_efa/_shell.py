"""The reciprocal lattice around spheres of given radii, chosen on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erf

from ._arguments import is_traced
from ._cell_coverage import covered_cells
from ._lattice import checked_cells

# Beyond the largest sphere shells end at so many widths, over the last of which a
# window falls to zero: what is cut is below exp(-12.5), 4e-6, of the shell's height.
_REACH = 6.0
# Room for the rounding of float32 when a cell is compared with the planned one.
_ROUNDING = 1.0 + 1e-4
# A frequency is empty where its shell holds less than this part of the integral.
_EMPTY = 0.01
# Long vectors are in the shells of high frequencies only; so many groups of frequencies
# are told apart.
_BANDS = 4


class ShellGrid(eqx.Module):
    r"""The integer vectors that a sum over reciprocal shells runs over.

    For one cell or a batch; half of the lattice (K and -K count once) and K = 0. Wave
    vectors follow the cell that is passed with the grid, $K = 2\pi\, C^{-1} n$. Arrays
    carry a leading graph axis if `shell_grid` was given a batch, and then pass through
    `jax.vmap`.

    Attributes:
        indices: the integers n, zero on padding.
        valid: false on padding.
        cell: the cell the vectors were chosen for, Å.
        empty: number of frequencies above zero whose shell holds no vector: there
            attention does not see positions.
        end: no longer vector contributes, 1/Å.
        stretch: the largest relative stretch of the cell that is covered.
        bands: vectors follow one another in bands of growing length: of each the
            number of vectors, and the length below which it has none in any covered
            cell, 1/Å.
    """

    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    cell: Float[Array, "*graphs 3 3"]
    empty: Int[Array, "*graphs"]
    end: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)
    bands: tuple[tuple[int, float], ...] = eqx.field(static=True)

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


def shell_grid(
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    width: float,
    margin: float = 1e-3,
    max_vectors: int = 1_000_000,
) -> ShellGrid:
    r"""The reciprocal vectors within reach of all frequencies, made before tracing.

    Every K shorter than $\omega_{max} + 6 s$ is in the grid, for the given cell and for
    all cells that deform it by a stretch of at most `1 + margin`. Counts are rounded up
    to few sizes, so that few shapes are compiled.

    Args:
        cells: one cell or a batch, rows are lattice vectors, Å.
        frequencies: radii $\omega_k$ of the shells, 1/Å.
        width: s, 1/Å.
        margin: relative stretch of the cell that stays covered; molecular dynamics
            with a breathing cell wants 0.1.
        max_vectors: refuse to make grids larger than this, per structure.

    Returns:
        A grid for `attend_periodic`, with a leading graph axis if `cells` has one.

    Raises:
        ValueError: a cell is traced, singular or misshapen, a number is out of its
            range, or more than `max_vectors` vectors are needed.
    """
    if is_traced(cells, frequencies):
        raise ValueError(
            "`cell` or `frequencies` are traced, so the reciprocal vectors they need "
            "are unknown: make a grid on the host with `shell_grid` or "
            "`layer.plan_for` and pass it as `grid`, to a layer as `plan`."
        )
    cells, omegas = checked_cells(np.asarray(cells)), np.asarray(frequencies, float)
    width, margin = float(width), float(margin)
    if not (width > 0 and margin >= 0 and omegas.size):
        raise ValueError(
            "`width` is positive, `margin` not negative and there is at least one "
            f"frequency, got {width}, {margin} and {omegas.tolist()}."
        )
    end, stretch = float(shell_ends(omegas, width).max()), (1.0 + margin) * _ROUNDING
    each = cells.reshape(-1, 3, 3)
    parts = [_half_ball(cell, end * stretch, max_vectors) for cell in each]
    empty = [_empty(*pair, omegas, width) for pair in zip(each, parts, strict=True)]
    starts = _band_starts(omegas, width)
    parts = [
        _in_bands(*pair, starts * stretch) for pair in zip(each, parts, strict=True)
    ]
    sizes = _band_sizes(parts, np.diff([*starts, end] ** np.array(3)) / end**3)
    indices, valid = _padded(parts, sizes)
    graphs = cells.shape[:-2]
    return ShellGrid(
        indices=jnp.asarray(indices.reshape(*graphs, -1, 3)),
        valid=jnp.asarray(valid.reshape(*graphs, -1)),
        cell=jnp.asarray(cells, jnp.result_type(float)),
        empty=jnp.asarray(np.reshape(empty, graphs), jnp.int32),
        end=end,
        stretch=stretch,
        bands=tuple(zip(sizes, starts.tolist(), strict=True)),
    )


def shell_ends(
    frequencies: Float[np.ndarray, " pairs"], width: float
) -> Float[np.ndarray, " pairs"]:
    """Where the window of each shell reaches zero, 1/Å."""
    return frequencies + _REACH * width


def shell_norm(
    frequencies: Float[np.ndarray, " pairs"], width: float
) -> Float[np.ndarray, " pairs"]:
    r"""$n_k$, so that $n_k e^{-(K - \omega_k)^2/2s^2}$ has integral one, Å³."""
    x = frequencies / width
    outer = (x**2 + 1) * math.sqrt(math.pi / 2) * (1 + erf(x / math.sqrt(2)))
    return 1 / (4 * math.pi * width**3 * (outer + x * np.exp(-(x**2) / 2)))


def _empty(cell, indices, frequencies, width) -> int:
    """Frequencies above zero with almost nothing of their integral in the sum."""
    lengths = np.linalg.norm(2 * np.pi * indices @ np.linalg.inv(cell).T, axis=1)
    shells = np.exp(-0.5 * ((lengths[lengths > 0, None] - frequencies) / width) ** 2)
    volume = abs(np.linalg.det(cell))
    part = 2 * (2 * np.pi) ** 3 / volume * shell_norm(frequencies, width)
    return int(np.sum((part * shells.sum(axis=0) < _EMPTY) & (frequencies > 0)))


def _half_ball(cell: np.ndarray, radius: float, max_vectors: int) -> np.ndarray:
    """Integers [vectors, 3] of zero and one half of the vectors below `radius`."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    most = np.floor(np.linalg.norm(cell, axis=1) * radius / (2 * math.pi)).astype(int)
    # A skew cell hides a small ball in a large box of indices, which is searched.
    searched = (most[0] + 1.0) * np.prod(2.0 * most[1:] + 1.0)
    if expected > max_vectors or searched > 100 * max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors "
            f"(searched among {searched:.0f}), more than `max_vectors={max_vectors}`: "
            "lower the highest frequency or the width, reduce the cell, or raise the "
            "limit."
        )
    dual = 2 * math.pi * np.linalg.inv(cell).T
    ranges = [np.arange(most[0] + 1), *(np.arange(-m, m + 1) for m in most[1:])]
    box = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    first = np.sign(box) @ np.array([4, 2, 1]) >= 0
    box = box[first]
    return box[np.sum((box @ dual) ** 2, axis=1) < radius**2]


def _band_starts(
    frequencies: Float[np.ndarray, " pairs"], width: float
) -> Float[np.ndarray, " bands"]:
    """Zero, and where the shells of further frequencies have ended, 1/Å."""
    ends = np.unique(frequencies) + _REACH * width
    groups = np.array_split(ends, min(_BANDS, len(ends)))
    return np.array([0.0, *(group[-1] for group in groups[:-1])])


def _in_bands(
    cell: np.ndarray, indices: np.ndarray, starts: np.ndarray
) -> list[np.ndarray]:
    """The vectors between each start and the next."""
    lengths = np.linalg.norm(2 * np.pi * indices @ np.linalg.inv(cell).T, axis=1)
    band = np.searchsorted(starts, lengths, side="right") - 1
    return [indices[band == i] for i in range(len(starts))]


def _band_sizes(parts: list[list[np.ndarray]], shares: np.ndarray) -> tuple[int, ...]:
    """Room for the vectors of every graph in every band, `shares` of one rounded total.

    Totals are 16, 18, ..., 32, 36, ..., 64, 72, ...: few sizes and few programs.
    """
    counts = [[len(band) for band in bands] for bands in parts]
    most, total = np.max(counts, axis=0, initial=0), 16
    while True:
        expected = total * shares
        sizes = 4 * np.ceil((expected + np.sqrt(expected)) / 4).astype(int)
        if np.all(sizes >= most):
            return tuple(sizes.tolist())
        total += 1 << (total.bit_length() - 4)


def _padded(
    parts: list[list[np.ndarray]], sizes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The graphs' vectors, band after band, and which places are filled."""
    indices = np.zeros((len(parts), sum(sizes), 3), np.int32)
    valid = np.zeros((len(parts), sum(sizes)), bool)
    starts = np.cumsum([0, *sizes[:-1]])
    for graph, bands in enumerate(parts):
        for start, band in zip(starts, bands, strict=True):
            indices[graph, start : start + len(band)] = band
            valid[graph, start : start + len(band)] = True
    return indices, valid
