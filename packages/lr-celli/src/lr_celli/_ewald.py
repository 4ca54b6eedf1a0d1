"""How a periodic Coulomb matrix is split, decided on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erfcinv

from ._cell_coverage import covered_cells
from ._lattice import ROUNDING, checked_cells
from ._truncation import image_counts, wave_vectors
from ._vectors import padded, rounded_up

# An image of every pair costs as much time as this many reciprocal vectors.
_IMAGE_COST = 100.0
_CANDIDATES = 0.2 * 1.03 ** np.arange(150)


class Ewald(eqx.Module):
    r"""The terms of a periodic Coulomb matrix, for one cell or a batch of cells.

    The reciprocal sum runs over Gaussians of width $\max(\sigma_i, s)$, a sum over
    images corrects pairs with a narrower one. Pairs with a Gaussian wider than
    $\sqrt2 s$ are left to the reciprocal sum alone, so that the number of images does
    not depend on the widest. Every cell has a split $s$ of its own. Vectors and images
    are integers: lengths follow the cell that is passed along. Arrays carry a leading
    graph axis if made for a batch.

    Attributes:
        indices: reciprocal vectors, one of each pair $\pm k$, zero on padding.
        valid: false on padding.
        images: lattice translations of the second atom of a pair.
        image_valid: false on padding.
        window: 1/2 or 0 an axis: fractional separations start at minus this.
        cell: the cell that all this was chosen for, Å.
        smear: the split $s$, Å.
        wide: whether the bounds allow Gaussians wider than that beside narrow ones.
        width_bounds: the smallest and the largest width that are served, Å.
        tolerance: bound on the error of a matrix element in units of $k_e$/Å.
        stretch: the largest relative strain of the cell that is covered.
    """

    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    images: Int[Array, "*graphs images 3"]
    image_valid: Bool[Array, "*graphs images"]
    window: Float[Array, "*graphs 3"]
    cell: Float[Array, "*graphs 3 3"]
    smear: Float[Array, "*graphs"]
    wide: bool = eqx.field(static=True)
    width_bounds: tuple[float, float] = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)

    @classmethod
    def for_cells(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"],
        *,
        width_bounds: tuple[float, float] = (0.0, math.inf),
        tolerance: float | None = None,
        margin: float = 1e-3,
        smear: float | None = None,
        max_vectors: int = 200_000,
    ) -> "Ewald":
        """The cheapest split that keeps a tolerance, made in numpy before tracing.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å.
            width_bounds: widths of the Gaussians lie between these, Å; tight bounds
                save work.
            tolerance: bound on the error of each matrix element in units of
                14.4 eV/e², all that the sums leave out together; by default 1e-8 where
                JAX runs in float64, else 1e-6.
            margin: relative strain of the cell that stays covered; molecular
                dynamics with a breathing cell wants 0.1.
            smear: the split, Å; chosen by cost if absent.
            max_vectors: refuse more reciprocal vectors than this, per structure.

        Returns:
            The split for `coulomb_matrix`, with a leading graph axis if `cells` has
            one.

        Raises:
            ValueError: a cell is traced, singular or misshapen, or a number is out of
                its range.
        """
        if isinstance(cells, Tracer):
            raise ValueError(
                "The cell is traced, so the terms of its lattice sum are unknown: make "
                "them on the host with `Ewald.for_cells(cells)` or "
                "`layer.plan_for(...)` and pass them as `ewald` to `coulomb_matrix`, "
                "as `plan` to a layer."
            )
        tolerance = default_tolerance() if tolerance is None else float(tolerance)
        width_bounds = float(width_bounds[0]), float(width_bounds[1])
        margin, smear = float(margin), None if smear is None else float(smear)
        check_bounds(width_bounds)
        _check_numbers(tolerance, margin, smear)
        cells = checked_cells(np.asarray(cells))
        flat = cells.reshape(-1, 3, 3)
        stretch = (1.0 + margin) * ROUNDING
        splits = np.full(len(flat), smear)
        if smear is None:
            splits = _cheapest(flat, width_bounds, tolerance / 2, stretch)
        counts = _image_counts(
            flat, splits[:, None], width_bounds, tolerance / 2, stretch
        )
        images, image_valid, window = _images(counts[:, 0])
        spheres = [
            wave_vectors(cell, split, tolerance / 2, stretch, max_vectors)
            for cell, split in zip(flat, splits, strict=True)
        ]
        indices, valid = padded(spheres, rounded_up(max(map(len, spheres))))
        graphs = cells.shape[:-2]
        shaped = lambda x: jnp.asarray(x.reshape((*graphs, *x.shape[1:])))
        return cls(
            indices=shaped(indices),
            valid=shaped(valid),
            images=shaped(images),
            image_valid=shaped(image_valid),
            window=shaped(window),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            smear=shaped(splits.astype(float)),
            wide=_wide(float(splits.min()), float(splits.max()), width_bounds),
            width_bounds=width_bounds,
            tolerance=tolerance,
            stretch=stretch,
        )

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"] | None = None,
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether no term is missing for these cells: a check for the host.

        Args:
            cells: one cell, or one for every graph, Å; None is open: not covered.
            positions: not used.
            mask: false on padding; the cell of a graph without atoms does not matter.

        Returns:
            One answer, or one for every graph.

        Raises:
            ValueError: the number of cells is not that of the split.
        """
        del positions
        return covered_cells(
            self.cell, cells, mask, self.stretch, limit_compression=True
        )


def default_tolerance() -> float:
    """1e-8 where JAX runs in float64, 1e-6 in float32."""
    return 1e-8 if jnp.result_type(float) == jnp.float64 else 1e-6


def check_bounds(bounds: tuple[float, float]) -> None:
    """Refuses bounds that are no interval of widths."""
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError(
            "`width_bounds` are a smallest and a largest width in Å, 0 <= low <= high, "
            f"got {bounds}."
        )


def _check_numbers(tolerance: float, margin: float, smear: float | None) -> None:
    if not 1e-14 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is an error between 1e-14 and 0.1, got {tolerance}."
        )
    if not margin >= 0:
        raise ValueError(
            f"`margin` is a strain and must not be negative, got {margin}."
        )
    if smear is not None and not smear > 0:
        raise ValueError(f"`smear` is a width and must be positive, got {smear}.")


def _wide(least: float, most: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] < most and bounds[1] > math.sqrt(2) * least


def _image_counts(
    cells: np.ndarray,
    smear: np.ndarray,
    bounds: tuple[float, float],
    tolerance: float,
    stretch: float,
) -> np.ndarray:
    """Translations an axis `[graphs, splits, 3]` that the correction of pairs needs.

    Where it acts one Gaussian is narrower than the split, and the other not wider than
    the root of two times the split.
    """
    low, high = bounds
    other = np.maximum(smear, np.minimum(high, math.sqrt(2) * smear))
    counts = image_counts(
        cells, math.sqrt(2) * np.hypot(smear, other), tolerance, stretch
    )
    return np.where((low < smear)[..., None], counts, 0)


def _cheapest(
    cells: np.ndarray, bounds: tuple[float, float], tolerance: float, stretch: float
) -> np.ndarray:
    """The split of every cell, Å, that makes the common sizes least work.

    Given a number of images, each cell takes the widest split that needs no more.
    """
    candidates = _CANDIDATES
    if bounds[0] > 0:
        candidates = np.sort([*_CANDIDATES, bounds[0]])
    counts = _image_counts(cells, candidates[None], bounds, tolerance, stretch)
    images = counts.prod(axis=-1)
    volumes = np.abs(np.linalg.det(cells))[:, None]
    reach = float(erfcinv(tolerance))
    vectors = volumes * (reach / candidates * stretch) ** 3 / (12 * math.pi**2)
    best, chosen = math.inf, candidates[:1]
    for most in np.unique(images):
        if _IMAGE_COST * most >= best:
            break
        widest = (images <= most).cumsum(axis=1).argmax(axis=1)
        if not (np.take_along_axis(images, widest[:, None], 1) <= most).all():
            continue
        splits = candidates[widest]
        sums = 1 + _wide(float(splits.min()), float(splits.max()), bounds)
        needed = np.take_along_axis(vectors, widest[:, None], 1).max()
        cost = _IMAGE_COST * most + sums * max(needed, 16)
        if cost < best:
            best, chosen = cost, splits
    return chosen


def _images(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translations `[graphs, images, 3]`, which are real, and the window's start.

    With n translations an axis every image within n/2 heights is met: fractional
    separations lie in [-1/2, 1/2) for odd n, in [0, 1) for even n.
    """
    parts = [
        np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in own], indexing="ij"), -1)
        for own in counts
    ]
    parts = [part.reshape(-1, 3) for part in parts]
    images, valid = padded(parts, max(map(len, parts)))
    return images, valid, np.where(counts % 2 == 1, 0.5, 0.0)
