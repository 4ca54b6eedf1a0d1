"""Integer vectors of the reciprocal lattice, selected on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._checks import cells_of_structures, check_plan_settings
from ._lattice import ROUNDING, covered_cells
from ._reduction import reduced_basis
from ._window import ON_SPHERE, ONSET, smooth_cutoff, window


class KGrid(eqx.Module):
    r"""The integer vectors of a reciprocal sum, for one cell or a batch.

    Wave vectors are not stored. They follow from the cell that is passed with the plan,
    $k = 2\pi\, (U C)^{-1} n$ with a reduced basis $U C$ of the lattice. The integers
    are $n = (n_1, n_2, \pm n_3)$ for every pair $(n_1, n_2)$ and every $n_3$, half of
    the lattice ($k$ and $-k$ count once), so that every plane wave is a product of two.
    Arrays have a leading batch axis, for `jax.vmap`, if it was made for a batch.

    Attributes:
        index_pairs: $n_1$ and $n_2$, zero on padding.
        valid: false on padding.
        third_indices: $n_3$ = 0, 1, ...
        basis: the integers $U$.
        cell: the cell for which the vectors were selected, Å.
        onset: length at which the window begins to decrease, 1/Å; equal to `cutoff` for
            a sharp cutoff.
        cutoff: length beyond which no vector contributes, 1/Å.
        sigma: smallest width of the interaction that the plan can be used with, Å.
        max_stretch: factor by which the cell may be stretched.
        power: power of $k$ for which the cutoff was chosen, see `for_structures`.
    """

    index_pairs: Int[Array, "*graphs pairs 2"]
    valid: Bool[Array, "*graphs pairs"]
    third_indices: Int[Array, "*graphs third"]
    basis: Int[Array, "*graphs 3 3"]
    cell: Float[Array, "*graphs 3 3"]
    onset: float = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
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
        tolerance: float = 1e-6,
        dl: float | None = None,
        margin: float = 1e-3,
        power: int = 0,
        max_vectors: int = 1_000_000,
    ) -> "KGrid | None":
        r"""Selects the reciprocal vectors of cells; runs on the host, before tracing.

        The sum ends in a smooth window at a cutoff $k_c$ that follows from `sigma` and
        `tolerance`. The plan contains every $n$ with $|k| < k_c$ for the given cells
        and for all cells that result from a strain of at most `margin`. Counts are
        rounded up to a small set of sizes, so that few shapes are compiled.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å; None is open.
            positions: atomic positions, Å, with the batch axis of the cells; not used.
            mask: not used.
            sigma: smallest width of the interaction that the plan is used with, Å.
            tolerance: error of the energy relative to the self energy
                $k_e \sum q^2/(\sigma\sqrt{2\pi})$, for charges without long-range
                order.
            dl: if not None, a sharp cutoff $k_c = 2\pi/dl$ (Å) instead of the smooth
                window, as in the published models; the energy then jumps when a vector
                crosses the cutoff.
            margin: relative strain of the cell that remains covered; 0.1 is suitable
                for molecular dynamics with a variable cell.
            power: power of $k$ by which the summand exceeds that of charges with the
                Coulomb kernel: 0 for charges, 2 with dipoles, 4 with quadrupoles, plus
                `kernel.power`.
            max_vectors: upper limit of the number of vectors per structure.

        Returns:
            A plan for `energy`, with a leading batch axis if `cells` has one; None in
            open boundaries, which need no plan.

        Raises:
            ValueError: a cell is traced, singular or of a wrong shape, an argument is
                out of range, or more than `max_vectors` vectors are needed.

        References:
            Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
        """
        del mask
        if cells is None:
            return None
        cells = cells_of_structures(cells, positions)
        sigma, tolerance, margin = float(sigma), float(tolerance), float(margin)
        dl, power = None if dl is None else float(dl), int(power)
        check_plan_settings(sigma, tolerance, dl, margin)
        cutoff = (
            smooth_cutoff(tolerance, power) / sigma if dl is None else 2 * math.pi / dl
        )
        stretch = (1.0 + margin) * ROUNDING
        flat_cells = cells.reshape(-1, 3, 3)
        bases = np.array([reduced_basis(cell) for cell in flat_cells], np.int32)
        bases = bases.reshape(-1, 3, 3)
        radius = cutoff * stretch * ON_SPHERE
        selected = [
            _pairs_within(reduced_cell, radius, max_vectors)
            for reduced_cell in bases.astype(float) @ flat_cells
        ]
        pairs, valid = _padded([pairs for pairs, _ in selected])
        third = _rounded_up(max((largest for _, largest in selected), default=0) + 1, 4)
        graphs = cells.shape[:-2]
        third_indices = jnp.arange(third, dtype=jnp.int32)
        return cls(
            index_pairs=jnp.asarray(pairs.reshape(*graphs, -1, 2)),
            valid=jnp.asarray(valid.reshape(*graphs, -1)),
            third_indices=jnp.broadcast_to(third_indices, (*graphs, third)),
            basis=jnp.asarray(bases.reshape(cells.shape)),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            onset=ONSET * cutoff if dl is None else cutoff,
            cutoff=cutoff,
            sigma=sigma if dl is None else 0.0,
            max_stretch=stretch,
            power=power,
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

    def window(self, k_squared: Float[Array, "*vectors"]) -> Float[Array, "*vectors"]:
        """Returns the weight of vectors of squared length `k_squared`, 1/Å²."""
        return window(k_squared, self.onset, self.cutoff)


def _pairs_within(
    cell: np.ndarray, radius: float, max_vectors: int
) -> tuple[np.ndarray, int]:
    """Index pairs of half of the vectors within `radius`, and the largest $n_3$."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    if expected > max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors, "
            f"more than `max_vectors={max_vectors}`: widen `sigma` or `tolerance`, "
            "reduce the cell, raise the limit, or use a `Mesh`."
        )
    bounds = np.floor(np.linalg.norm(cell, axis=1) * radius / (2 * math.pi)).astype(int)
    first, second = np.arange(bounds[0] + 1), np.arange(-bounds[1], bounds[1] + 1)
    pairs = np.stack(np.meshgrid(first, second, indexing="ij"), -1).reshape(-1, 2)
    pairs = pairs[(pairs[:, 0] > 0) | (pairs[:, 1] >= 0)]
    dual = 2 * math.pi * np.linalg.inv(cell).T
    k = pairs @ dual[:2]
    third = np.rint(-(k @ dual[2]) / (dual[2] @ dual[2]))
    k = k + third[:, None] * dual[2]
    return pairs[np.sum(k * k, axis=1) < radius**2], int(bounds[2])


def _padded(pairs_by_graph: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of all graphs in one padded array, and which entries are valid."""
    size = _rounded_up(max((len(pairs) for pairs in pairs_by_graph), default=0), 8)
    padded = np.zeros((len(pairs_by_graph), size, 2), np.int32)
    valid = np.zeros((len(pairs_by_graph), size), bool)
    for i, pairs in enumerate(pairs_by_graph):
        padded[i, : len(pairs)] = pairs
        valid[i, : len(pairs)] = True
    return padded, valid


def _rounded_up(count: int, sizes_per_octave: int) -> int:
    """Rounds up to one of `sizes_per_octave` sizes between powers of two."""
    step = 1
    while 2 * sizes_per_octave * step < count:
        step *= 2
    return max(sizes_per_octave, -(-count // step) * step)
