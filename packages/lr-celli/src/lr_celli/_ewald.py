"""The plan of a periodic Coulomb matrix: terms of its Ewald sums."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erfcinv

from ._lattice import ROUNDING, covered_cells
from ._reciprocal_vectors import padded, rounded_up
from ._structures import planned_structures
from ._truncation import image_counts, wave_vectors

# Cost of one lattice image for all pairs, relative to the cost of one reciprocal
# vector.
_IMAGE_COST = 100.0
# Values of the smearing that are tried, Å.
_CANDIDATES = 0.2 * 1.03 ** np.arange(150)


class Ewald(eqx.Module):
    r"""The plan of a periodic Coulomb matrix, for one cell or a batch of cells.

    If both widths $\sigma_i$ of a pair are below $\sqrt2 s$, with the smearing $s$, the
    reciprocal sum uses the widths $\max(\sigma_i, s)$, and a real-space sum over images
    corrects the pair if one width is below $s$. All other pairs are computed by the
    reciprocal sum alone, with the widths $\sigma_i$ themselves, so that the number of
    images does not depend on the largest width. Each cell has its own smearing.
    Reciprocal vectors and images are integer indices, which are multiplied with the
    cell at evaluation. Arrays have a leading batch axis if made for a batch.

    Attributes:
        indices: of the reciprocal vectors, one of each pair $\pm k$, zero on padding.
        valid: false on padding.
        images: lattice translations of the second atom of a pair.
        image_valid: false on padding.
        wrap_offset: 1/2 or 0 per axis; fractional separations are wrapped to the
            interval [-wrap_offset, 1 - wrap_offset).
        cell: the cell that the plan was made for, Å.
        smearing: $s$, Å.
        has_wide_gaussians: whether the bounds allow widths above $\sqrt2 s$ together
            with widths below $s$.
        width_bounds: the smallest and the largest width that the plan covers, Å.
        tolerance: bound on the error of a matrix element in units of $k_e$/Å.
        stretch: factor by which the cell may be stretched or compressed.
    """

    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    images: Int[Array, "*graphs images 3"]
    image_valid: Bool[Array, "*graphs images"]
    wrap_offset: Float[Array, "*graphs 3"]
    cell: Float[Array, "*graphs 3 3"]
    smearing: Float[Array, "*graphs"]
    has_wide_gaussians: bool = eqx.field(static=True)
    width_bounds: tuple[float, float] = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)

    @classmethod
    def for_structures(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
        *,
        width_bounds: tuple[float, float] = (0.0, math.inf),
        tolerance: float | None = None,
        margin: float = 1e-3,
        smearing: float | None = None,
        max_vectors: int = 200_000,
    ) -> "Ewald | None":
        """Chooses the terms that reach a tolerance at the lowest cost, on the host.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å; None means open
                boundaries.
            positions: Å, with the batch axis of the cells; only the shape is used.
            mask: false on padding; cells of graphs without atoms are ignored. None
                means that every graph has atoms.
            width_bounds: smallest and largest width (standard deviation) of the
                Gaussian charge densities, Å; narrow bounds reduce the number of terms.
            tolerance: bound on the error of each matrix element in units of
                14.4 eV/e², the sum of all omitted terms; None is 1e-8 if JAX runs in
                float64, else 1e-6.
            margin: relative strain of the cell that the plan covers; 0.1 suits
                molecular dynamics with a variable cell.
            smearing: width that separates the real-space and the reciprocal sum, Å;
                None chooses the one of lowest cost.
            max_vectors: largest number of reciprocal vectors per structure.

        Returns:
            The plan for `coulomb_matrix`, with a leading batch axis if `cells` has
            one; None with open boundaries, which need no plan.

        Raises:
            ValueError: a cell is traced or singular, shapes are inconsistent, or an
                argument is out of range.
        """
        if cells is None:
            return None
        tolerance = default_tolerance() if tolerance is None else float(tolerance)
        width_bounds = float(width_bounds[0]), float(width_bounds[1])
        margin, smearing = float(margin), None if smearing is None else float(smearing)
        check_bounds(width_bounds)
        _check_numbers(tolerance, margin, smearing)
        cells, used, _ = planned_structures(
            cells, positions, mask, "`Ewald.for_structures(...)` or `layer.plan(...)`"
        )
        flat = used.reshape(-1, 3, 3)
        stretch = (1.0 + margin) * ROUNDING
        smearings = np.full(len(flat), smearing)
        if smearing is None:
            smearings = _cheapest_smearings(flat, width_bounds, tolerance / 2, stretch)
        counts = _image_counts(
            flat, smearings[:, None], width_bounds, tolerance / 2, stretch
        )
        images, image_valid, wrap_offset = _images(counts[:, 0])
        vectors_per_cell = [
            wave_vectors(cell, width, tolerance / 2, stretch, max_vectors)
            for cell, width in zip(flat, smearings, strict=True)
        ]
        indices, valid = padded(
            vectors_per_cell, rounded_up(max(map(len, vectors_per_cell)))
        )
        graphs = cells.shape[:-2]
        to_device = lambda x: jnp.asarray(x.reshape((*graphs, *x.shape[1:])))
        return cls(
            indices=to_device(indices),
            valid=to_device(valid),
            images=to_device(images),
            image_valid=to_device(image_valid),
            wrap_offset=to_device(wrap_offset),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            smearing=to_device(smearings.astype(float)),
            has_wide_gaussians=_has_wide_gaussians(smearings, width_bounds),
            width_bounds=width_bounds,
            tolerance=tolerance,
            stretch=stretch,
        )

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether the plan has all terms that these cells need; runs on the host.

        Args:
            cells: one cell, or one per graph, Å; None means open boundaries, which are
                not covered.
            positions: Å; if not finite for a real atom, not covered.
            mask: false on padding; graphs without atoms count as covered. None means no
                padding.

        Returns:
            A bool, or an array with one bool per graph.

        Raises:
            ValueError: the number of cells differs from that of the plan.
        """
        return covered_cells(
            self.cell, cells, positions, mask, self.stretch, limit_compression=True
        )


def default_tolerance() -> float:
    """1e-8 if JAX runs in float64, 1e-6 if in float32."""
    return 1e-8 if jnp.result_type(float) == jnp.float64 else 1e-6


def check_bounds(bounds: tuple[float, float]) -> None:
    """Raises ValueError unless `0 <= bounds[0] <= bounds[1]`."""
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError(
            "`width_bounds` are a smallest and a largest width in Å, 0 <= low <= high, "
            f"got {bounds}."
        )


def _check_numbers(tolerance: float, margin: float, smearing: float | None) -> None:
    if not 1e-14 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is an error between 1e-14 and 0.1, got {tolerance}."
        )
    if not margin >= 0:
        raise ValueError(
            f"`margin` is a strain and must not be negative, got {margin}."
        )
    if smearing is not None and not smearing > 0:
        raise ValueError(f"`smearing` is a width and must be positive, got {smearing}.")


def _has_wide_gaussians(smearings: np.ndarray, bounds: tuple[float, float]) -> bool:
    narrow = bounds[0] < float(smearings.max())
    return narrow and bounds[1] > math.sqrt(2) * float(smearings.min())


def _image_counts(
    cells: np.ndarray,
    smearings: np.ndarray,
    bounds: tuple[float, float],
    tolerance: float,
    stretch: float,
) -> np.ndarray:
    r"""Number of translations per axis in the sum over images.

    In a pair that the real-space sum corrects, one Gaussian is narrower than the
    smearing $s$, and the other is narrower than $\sqrt2 s$.

    Args:
        cells: rows are lattice vectors, `[graphs, 3, 3]`, Å.
        smearings: `[graphs, candidates]`, Å.
        bounds: smallest and largest width, Å.
        tolerance: bound on the sum over all omitted images, 1/Å.
        stretch: factor by which the cells may be stretched.

    Returns:
        `[graphs, candidates, 3]`.
    """
    low, high = bounds
    widest = np.maximum(smearings, np.minimum(high, math.sqrt(2) * smearings))
    counts = image_counts(
        cells, math.sqrt(2) * np.hypot(smearings, widest), tolerance, stretch
    )
    return np.where((low < smearings)[..., None], counts, 0)


def _cheapest_smearings(
    cells: np.ndarray, bounds: tuple[float, float], tolerance: float, stretch: float
) -> np.ndarray:
    """The smearing of each cell, Å, that minimizes the cost of the batch.

    The cost depends on the array sizes, which all cells of the batch share. For a given
    number of images, each cell takes the largest smearing that needs no more images.
    """
    candidates = _CANDIDATES
    if bounds[0] > 0:
        candidates = np.sort([*_CANDIDATES, bounds[0]])
    counts = _image_counts(cells, candidates[None], bounds, tolerance, stretch)
    images = counts.prod(axis=-1)
    volumes = np.abs(np.linalg.det(cells))[:, None]
    cutoff_factor = float(erfcinv(tolerance))
    # Vectors shorter than K, one of each pair k and -k: half the volume 4π K³/3 of the
    # sphere, divided by the volume (2π)³/V per vector, is V K³/(12 π²).
    radii = cutoff_factor / candidates * stretch
    n_vectors = volumes * radii**3 / (12 * math.pi**2)
    lowest_cost, best = math.inf, candidates[:1]
    for max_images in np.unique(images):
        if _IMAGE_COST * max_images >= lowest_cost:
            break
        largest = (images <= max_images).cumsum(axis=1).argmax(axis=1)
        if not (np.take_along_axis(images, largest[:, None], 1) <= max_images).all():
            continue
        smearings = candidates[largest]
        reciprocal_sums = 1 + _has_wide_gaussians(smearings, bounds)
        max_vectors = np.take_along_axis(n_vectors, largest[:, None], 1).max()
        cost = _IMAGE_COST * max_images + reciprocal_sums * max(max_vectors, 16)
        if cost < lowest_cost:
            lowest_cost, best = cost, smearings
    return best


def _images(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translations `[graphs, images, 3]`, a mask false on padding, and `wrap_offset`.

    With n translations per axis all images within n/2 cell heights are
    included if fractional separations are wrapped to [-1/2, 1/2) for odd n, to [0, 1)
    for even n.
    """
    parts = []
    for graph_counts in counts:
        axes = [np.arange(n) - n // 2 for n in graph_counts]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        parts.append(grid.reshape(-1, 3))
    images, valid = padded(parts, max(map(len, parts)))
    return images, valid, np.where(counts % 2 == 1, 0.5, 0.0)
