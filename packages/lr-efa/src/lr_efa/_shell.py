"""Reciprocal lattice vectors near spheres of given radii, selected on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erf

from ._arguments import is_traced
from ._lattice import ROUNDING, concrete_cells, covered_cells

# Shells end this many thicknesses beyond their radius; a smooth window falls to zero
# over the last one. What is cut off is below exp(-12.5), 4e-6, of the shell's height.
_END_IN_THICKNESSES = 6.0
# A shell is empty if its vectors contribute less than this fraction of its integral.
_EMPTY_FRACTION = 0.01
# Long vectors contribute to high frequencies only: vectors are sorted into at most this
# many bands by length, each with the frequencies that reach it.
_MAX_BANDS = 4


class ShellGrid(eqx.Module):
    r"""The integer vectors of a sum over reciprocal shells.

    For one cell or a batch. It contains half of the lattice (K and -K count once) and
    K = 0. Wave vectors follow from the cell that is passed with the plan,
    $K = 2\pi\, C^{-1} n$. Arrays have a leading batch axis, for `jax.vmap`, if
    it was made for a batch.

    Attributes:
        indices: the integers n, zero on padding.
        valid: false on padding.
        cell: the cell for which the vectors were selected, Å.
        num_empty: number of positive frequencies whose shell contains no vector; their
            channels do not depend on positions.
        cutoff: length beyond which no vector contributes, 1/Å.
        max_stretch: factor by which the cell may be stretched.
        bands: vectors are sorted into bands of increasing length; for each band the
            number of vectors, and a lower bound of their length in any covered cell,
            1/Å.
    """

    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    cell: Float[Array, "*graphs 3 3"]
    num_empty: Int[Array, "*graphs"]
    cutoff: float = eqx.field(static=True)
    max_stretch: float = eqx.field(static=True)
    bands: tuple[tuple[int, float], ...] = eqx.field(static=True)

    @classmethod
    def for_structures(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
        *,
        frequencies: Float[Array | np.ndarray, " pairs"],
        shell_thickness: float = 0.15,
        margin: float = 1e-3,
        max_vectors: int = 1_000_000,
    ) -> "ShellGrid | None":
        r"""Selects the reciprocal vectors of all shells; on the host, before tracing.

        The plan contains every K shorter than $\omega_{max} + 6 s$, for the given cells
        and for all cells that result from a strain of at most `margin`. Counts are
        rounded up to a small set of sizes, so that few shapes are compiled.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å; None is open.
            positions: atomic positions, Å, with the batch axis of the cells; not used.
            mask: not used.
            frequencies: radii $\omega_k$ of the shells, 1/Å.
            shell_thickness: thickness s of the shells, 1/Å, see `attend`.
            margin: relative strain of the cell that remains covered; 0.1 is suitable
                for molecular dynamics with a variable cell.
            max_vectors: upper limit of the number of vectors per structure.

        Returns:
            A plan for `attend`, with a leading batch axis if `cells` has one; None in
            open boundaries, where the plan is an `OpenPlan`.

        Raises:
            ValueError: a cell is traced, singular or of a wrong shape, an argument is
                out of range, or more than `max_vectors` vectors are needed.
        """
        del mask
        if cells is None:
            return None
        if is_traced(frequencies):
            raise ValueError(
                "`frequencies` are traced, but the shells of a plan are fixed: pass a "
                "NumPy array, such as the result of `frequency_grid(...)`."
            )
        cells = concrete_cells(
            cells, "`ShellGrid.for_structures(...)` or `layer.plan_for(...)`"
        )
        omegas = np.asarray(frequencies, float)
        shell_thickness, margin = float(shell_thickness), float(margin)
        if not (shell_thickness > 0 and margin >= 0 and omegas.size):
            raise ValueError(
                "`shell_thickness` must be positive, `margin` not negative and "
                f"`frequencies` not empty, got {shell_thickness}, {margin} and "
                f"{omegas.tolist()}."
            )
        cutoff = float(shell_ends(omegas, shell_thickness).max())
        stretch = (1.0 + margin) * ROUNDING
        flat_cells = cells.reshape(-1, 3, 3)
        balls = [_half_ball(cell, cutoff * stretch, max_vectors) for cell in flat_cells]
        num_empty = [
            _count_empty(cell, ball, omegas, shell_thickness)
            for cell, ball in zip(flat_cells, balls, strict=True)
        ]
        starts = _band_starts(omegas, shell_thickness)
        bands = [
            _split_into_bands(cell, ball, starts * stretch)
            for cell, ball in zip(flat_cells, balls, strict=True)
        ]
        sizes = _band_sizes(
            bands, np.diff([*starts, cutoff] ** np.array(3)) / cutoff**3
        )
        indices, valid = _padded(bands, sizes)
        graphs = cells.shape[:-2]
        return cls(
            indices=jnp.asarray(indices.reshape(*graphs, -1, 3)),
            valid=jnp.asarray(valid.reshape(*graphs, -1)),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            num_empty=jnp.asarray(np.reshape(num_empty, graphs), jnp.int32),
            cutoff=cutoff,
            max_stretch=stretch,
            bands=tuple(zip(sizes, starts.tolist(), strict=True)),
        )

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Returns whether the plan has all vectors for these cells; runs on the host.

        Args:
            cells: one cell, or one per graph, Å; None is open, which is not covered.
            positions: Å; if not finite for a real atom, not covered.
            mask: false on padding; graphs without atoms are covered. None is no
                padding.

        Returns:
            One bool, or one per graph.

        Raises:
            ValueError: the number of cells differs from that of the plan.
        """
        return covered_cells(self.cell, cells, positions, mask, self.max_stretch)


def shell_ends(
    frequencies: Float[np.ndarray, " pairs"], shell_thickness: float
) -> Float[np.ndarray, " pairs"]:
    """Returns the length at which the window of each shell reaches zero, 1/Å."""
    return frequencies + _END_IN_THICKNESSES * shell_thickness


def shell_norm(
    frequencies: Float[np.ndarray, " pairs"], shell_thickness: float
) -> Float[np.ndarray, " pairs"]:
    r"""Returns $n_k$, the inverse integral of $e^{-(K - \omega_k)^2/2s^2}$, Å³."""
    x = frequencies / shell_thickness
    outer = (x**2 + 1) * math.sqrt(math.pi / 2) * (1 + erf(x / math.sqrt(2)))
    return 1 / (4 * math.pi * shell_thickness**3 * (outer + x * np.exp(-(x**2) / 2)))


def _count_empty(cell, indices, frequencies, shell_thickness) -> int:
    """Number of positive frequencies whose shell contains almost no vector."""
    lengths = np.linalg.norm(2 * np.pi * indices @ np.linalg.inv(cell).T, axis=1)
    shells = np.exp(
        -0.5 * ((lengths[lengths > 0, None] - frequencies) / shell_thickness) ** 2
    )
    volume = abs(np.linalg.det(cell))
    weight = 2 * (2 * np.pi) ** 3 / volume * shell_norm(frequencies, shell_thickness)
    return int(
        np.sum((weight * shells.sum(axis=0) < _EMPTY_FRACTION) & (frequencies > 0))
    )


def _half_ball(cell: np.ndarray, radius: float, max_vectors: int) -> np.ndarray:
    """Integers [vectors, 3] of K = 0 and of half of the vectors within `radius`."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    bounds = np.floor(np.linalg.norm(cell, axis=1) * radius / (2 * math.pi)).astype(int)
    # In a skew cell the box of indices around the ball is much larger than the ball.
    searched = (bounds[0] + 1.0) * np.prod(2.0 * bounds[1:] + 1.0)
    if expected > max_vectors or searched > 100 * max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors "
            f"(searched among {searched:.0f}), more than `max_vectors={max_vectors}`: "
            "lower the highest frequency or the shell thickness, reduce the cell, or "
            "raise the limit."
        )
    dual = 2 * math.pi * np.linalg.inv(cell).T
    ranges = [np.arange(bounds[0] + 1), *(np.arange(-n, n + 1) for n in bounds[1:])]
    box = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    in_half = np.sign(box) @ np.array([4, 2, 1]) >= 0
    box = box[in_half]
    return box[np.sum((box @ dual) ** 2, axis=1) < radius**2]


def _band_starts(
    frequencies: Float[np.ndarray, " pairs"], shell_thickness: float
) -> Float[np.ndarray, " bands"]:
    """Lower bound of the length in each band: zero, then the ends of shells, 1/Å."""
    ends = np.unique(frequencies) + _END_IN_THICKNESSES * shell_thickness
    groups = np.array_split(ends, min(_MAX_BANDS, len(ends)))
    return np.array([0.0, *(group[-1] for group in groups[:-1])])


def _split_into_bands(
    cell: np.ndarray, indices: np.ndarray, starts: np.ndarray
) -> list[np.ndarray]:
    """The vectors with lengths between each start and the next."""
    lengths = np.linalg.norm(2 * np.pi * indices @ np.linalg.inv(cell).T, axis=1)
    band = np.searchsorted(starts, lengths, side="right") - 1
    return [indices[band == i] for i in range(len(starts))]


def _band_sizes(
    bands_by_graph: list[list[np.ndarray]], fractions: np.ndarray
) -> tuple[int, ...]:
    """Padded number of vectors in every band: `fractions` of one rounded total.

    Totals are 16, 18, ..., 32, 36, ..., 64, 72, ..., so that few shapes are compiled.
    """
    counts = [[len(band) for band in bands] for bands in bands_by_graph]
    largest, total = np.max(counts, axis=0, initial=0), 16
    while True:
        expected = total * fractions
        sizes = 4 * np.ceil((expected + np.sqrt(expected)) / 4).astype(int)
        if np.all(sizes >= largest):
            return tuple(sizes.tolist())
        total += 1 << (total.bit_length() - 4)


def _padded(
    bands_by_graph: list[list[np.ndarray]], sizes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of every graph, band after band, and which entries are valid."""
    indices = np.zeros((len(bands_by_graph), sum(sizes), 3), np.int32)
    valid = np.zeros((len(bands_by_graph), sum(sizes)), bool)
    starts = np.cumsum([0, *sizes[:-1]])
    for graph, bands in enumerate(bands_by_graph):
        for start, band in zip(starts, bands, strict=True):
            indices[graph, start : start + len(band)] = band
            valid[graph, start : start + len(band)] = True
    return indices, valid
