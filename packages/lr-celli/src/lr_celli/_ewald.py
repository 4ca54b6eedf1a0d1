"""How a periodic Coulomb matrix is split, decided on the host."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erfcinv

from ._lattice import ROUNDING, checked_cells, heights, strained_within_on_host
from ._vectors import half_sphere, padded, rounded_up

# An image of every pair costs as much time as this many reciprocal vectors.
_IMAGE_COST = 100.0
_CANDIDATES = 0.3 * 1.1 ** np.arange(40)
_ON_SPHERE = 1.0 + 1e-6


class Ewald(eqx.Module):
    r"""The terms of a periodic Coulomb matrix, for one cell or a batch of cells.

    The reciprocal sum runs over Gaussians of width $\max(\sigma_i, s)$, a sum over
    images corrects pairs with a narrower one. Pairs with a Gaussian wider than
    $\sqrt2 s$ are left to the reciprocal sum alone, so that the number of images does
    not depend on the widest. Vectors and images are integers: lengths follow the cell
    that is passed along. Arrays carry a leading graph axis if made for a batch.

    Attributes:
        indices: reciprocal vectors, one of each pair $\pm k$, zero on padding.
        valid: false on padding.
        images: lattice translations of the second atom of a pair.
        image_valid: false on padding.
        window: 1/2 or 0 an axis: fractional separations start at minus this.
        cell: the cell that all this was chosen for, Å.
        smear: the split $s$, Å.
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
    smear: float = eqx.field(static=True)
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
                14.4 eV/e²; by default 1e-8 where JAX runs in float64, else 1e-6.
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
        if tolerance is None:
            tolerance = default_tolerance()
        check_bounds(width_bounds)
        _check_numbers(tolerance, margin, smear)
        cells = checked_cells(np.asarray(cells))
        flat = cells.reshape(-1, 3, 3)
        reach = float(erfcinv(tolerance / 2))
        stretch = (1.0 + margin) * ROUNDING
        if smear is None:
            smear = _cheapest(flat, width_bounds, reach, stretch)
        ends = 2 * stretch * _range(smear, width_bounds, reach) / heights(flat)
        images, image_valid, window = _images(np.ceil(ends).astype(int))
        radius = reach / smear * stretch * _ON_SPHERE
        spheres = [half_sphere(cell, radius, max_vectors) for cell in flat]
        indices, valid = padded(spheres, rounded_up(max(map(len, spheres))))
        graphs = cells.shape[:-2]
        shaped = lambda x: jnp.asarray(x.reshape(*graphs, *x.shape[1:]))
        return cls(
            indices=shaped(indices),
            valid=shaped(valid),
            images=shaped(images),
            image_valid=shaped(image_valid),
            window=shaped(window),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            smear=smear,
            width_bounds=width_bounds,
            tolerance=tolerance,
            stretch=stretch,
        )

    def covers(
        self, cells: Float[Array | np.ndarray, "*graphs 3 3"]
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether no term is missing for these cells: a check for the host.

        Args:
            cells: one cell, or one for every graph, Å.

        Returns:
            One answer, or one for every graph.

        Raises:
            ValueError: the number of cells is not that of the split.
        """
        return covers_cells(self.cell, cells, self.stretch)

    @property
    def wide_from(self) -> float:
        """Gaussians from this width on interact in the reciprocal sum alone, Å."""
        return math.sqrt(2) * self.smear

    @property
    def has_wide(self) -> bool:
        """Whether the bounds allow such Gaussians besides narrower ones."""
        low, high = self.width_bounds
        return low < self.smear and high > self.wide_from


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


def covers_cells(
    planned: Float[Array, "*planned 3 3"],
    cells: Float[Array | np.ndarray, "*graphs 3 3"],
    limit: float,
) -> bool | Bool[np.ndarray, " graphs"]:
    """Whether each cell is within a strain of the planned one."""
    host = np.asarray(cells, np.float64)
    references = np.asarray(planned, np.float64)
    if host.shape != references.shape:
        raise ValueError(
            f"The plan was made for cells of shape {list(references.shape)}, got "
            f"{list(host.shape)}: make one for these cells."
        )
    covered = strained_within_on_host(host, references, limit)
    return covered if covered.ndim else bool(covered)


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


def _range(smear: float, bounds: tuple[float, float], reach: float) -> float:
    """Where the correction of a pair ends, Å.

    One Gaussian is narrower than the split, the other not wider than `wide_from`.
    """
    low, high = bounds
    if low >= smear:
        return 0.0
    other = max(smear, min(high, math.sqrt(2) * smear))
    return math.sqrt(2) * reach * math.hypot(smear, other)


def _cheapest(
    cells: np.ndarray, bounds: tuple[float, float], reach: float, stretch: float
) -> float:
    """The split with the least work for the largest of the cells, Å."""
    low, high = bounds
    volumes, apart = np.abs(np.linalg.det(cells)), heights(cells)
    candidates = [*_CANDIDATES.tolist(), *([low] if low > 0 else [])]
    costs = []
    for smear in candidates:
        ends = 2 * stretch * _range(smear, bounds, reach) / apart
        images = np.max(np.prod(np.ceil(ends), axis=-1))
        vectors = np.max(volumes) * (reach / smear * stretch) ** 3 / (12 * math.pi**2)
        sums = 2 if low < smear and high > math.sqrt(2) * smear else 1
        costs.append(_IMAGE_COST * images + sums * max(vectors, 16))
    return float(candidates[int(np.argmin(costs))])


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
