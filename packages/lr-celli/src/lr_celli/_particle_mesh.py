"""The plan of the matrix-free Coulomb operator: pairs, mesh and wave vectors."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erfcinv

from ._lattice import ROUNDING, bool_or_array, check_finite, covered_cells
from ._neighbors import neighbor_table
from ._reciprocal_vectors import half_sphere, padded, rounded_up
from ._spline import fft_size
from ._structures import planned_structures

# Smallest smearing, Å.
_MIN_SMEARING = 1.2
# Largest length (1/Å) and number of the wave vectors in the preconditioner.
_PRECONDITIONER_CUTOFF = 0.5
_MAX_PRECONDITIONER_VECTORS = 192


class ParticleMesh(eqx.Module):
    """The plan of the Coulomb operator, for one structure or a batch.

    The mesh sums the interaction of Gaussians of one common width, the smearing. A pair
    sum within a cutoff adds the difference to the interaction of the true widths.
    Arrays have a leading batch axis if made for a batch.

    Attributes:
        neighbors: indices of the neighbors of each atom; the atom itself with zero
            shift in unused entries.
        shifts: lattice translations of the neighbors.
        coordinates: fractional, at which the neighbors were determined; NaN on padding.
        indices: of the wave vectors, sorted by length: those of the preconditioner, or
            all of them if there is no mesh.
        valid: false on padding.
        cell: the cell that the plan was made for, Å.
        mesh: number of points along each lattice vector; None sums over wave vectors.
        smearing: the common width of the smeared Gaussians, Å.
        width_max: the largest width of a Gaussian that the plan covers, Å.
        skin: twice the distance by which an atom may move, Å.
        stretch: factor by which the cell may be stretched or compressed.
        num_preconditioner_vectors: number of wave vectors in the preconditioner.
    """

    neighbors: Int[Array, "*graphs atoms neighbors"]
    shifts: Int[Array, "*graphs atoms neighbors 3"]
    coordinates: Float[Array, "*graphs atoms 3"]
    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    cell: Float[Array, "*graphs 3 3"]
    mesh: tuple[int, int, int] | None = eqx.field(static=True)
    smearing: float = eqx.field(static=True)
    width_max: float = eqx.field(static=True)
    skin: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)
    num_preconditioner_vectors: int = eqx.field(static=True)

    @classmethod
    def for_structures(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs atoms 3"],
        mask: Bool[Array | np.ndarray, "*graphs atoms"] | None = None,
        *,
        width_max: float,
        tolerance: float = 1e-6,
        skin: float = 0.5,
        margin: float = 1e-3,
        direct: bool = False,
    ) -> "ParticleMesh | None":
        """Makes the plan for structures, on the host.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å; None means open
                boundaries.
            positions: Å, wrapped or not, with the batch axis of the cells.
            mask: false on padding; cells of graphs without atoms are ignored. None
                means no padding.
            width_max: largest width (standard deviation) of the Gaussian charge
                densities, Å. The cost grows with its third power.
            tolerance: bound on the error of the interaction of a pair, in units of
                14.4 eV/e².
            skin: twice the distance by which an atom may move before the plan no longer
                covers the structure, Å.
            margin: relative strain of the cell that the plan covers.
            direct: sum over wave vectors instead of a mesh; slower, without the error
                of the mesh.

        Returns:
            The plan for `coulomb_operator`, with a leading batch axis if `cells` has
            one; None with open boundaries, for which there is no operator.

        Raises:
            ValueError: a cell or a position is traced, a cell is singular, a position
                is not finite, shapes are inconsistent, or an argument is out of range.
        """
        if cells is None:
            return None
        constructor = "`ParticleMesh.for_structures(...)` or `layer.plan(...)`"
        if any(isinstance(x, Tracer) for x in (cells, positions, mask)):
            raise ValueError(
                "Cell or positions are traced, so the neighbors are unknown: make a "
                f"plan on the host with {constructor} and pass it as `plan`."
            )
        width_max, tolerance = float(width_max), float(tolerance)
        skin, margin = float(skin), float(margin)
        _check_numbers(width_max, tolerance, skin, margin)
        cells, used, mask = planned_structures(cells, positions, mask, constructor)
        flat, graphs = used.reshape(-1, 3, 3), cells.shape[:-2]
        positions = np.asarray(positions, np.float64).reshape(len(flat), -1, 3)
        mask = mask.reshape(len(flat), -1)
        check_finite(positions, mask)
        coordinates = np.where(mask[..., None], positions, 0.0) @ np.linalg.inv(flat)
        cutoff_factor = float(erfcinv(tolerance / 2))
        stretch = (1.0 + margin) * ROUNDING
        smearing = max(_MIN_SMEARING, width_max)
        if direct:
            smearing = max(smearing, _balanced_smearing(flat, mask))
        cutoff = (2 * cutoff_factor * smearing + skin) * stretch
        neighbors, shifts = _neighbor_tables(coordinates, flat, mask, cutoff)
        radius = cutoff_factor / smearing if direct else _PRECONDITIONER_CUTOFF
        vectors_per_cell = [half_sphere(c, radius * stretch, 1_000_000) for c in flat]
        counts = [
            min(_MAX_PRECONDITIONER_VECTORS, _count_preconditioner_vectors(c, s))
            for c, s in zip(flat, vectors_per_cell, strict=True)
        ]
        if not direct:
            vectors_per_cell = [
                s[:n] for s, n in zip(vectors_per_cell, counts, strict=True)
            ]
        indices, valid = padded(
            vectors_per_cell, rounded_up(max(map(len, vectors_per_cell)))
        )
        to_device = lambda x: jnp.asarray(x.reshape(*graphs, *x.shape[1:]))
        return cls(
            neighbors=to_device(neighbors),
            shifts=to_device(shifts),
            coordinates=to_device(np.where(mask[..., None], coordinates, np.nan)),
            indices=to_device(indices),
            valid=to_device(valid),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            mesh=None if direct else _mesh_size(flat, smearing, tolerance),
            smearing=smearing,
            width_max=width_max,
            skin=skin,
            stretch=stretch,
            num_preconditioner_vectors=min(indices.shape[1], rounded_up(max(counts))),
        )

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs atoms 3"],
        mask: Bool[Array | np.ndarray, "*graphs atoms"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether the plan has all terms that these structures need; runs on the host.

        Args:
            cells: one cell, or one per graph, Å; None means open boundaries, which are
                not covered.
            positions: Å, wrapped or not; if not finite for a real atom, not covered.
            mask: false on padding, whose positions are ignored; None uses the padding
                that the plan was made for.

        Returns:
            A bool, or an array with one bool per graph.

        Raises:
            ValueError: the number of cells or atoms differs from that of the plan.
        """
        planned = np.asarray(self.coordinates, np.float64)
        if np.shape(positions) != planned.shape:
            raise ValueError(
                f"The plan was made for positions of shape {list(planned.shape)}, got "
                f"{list(np.shape(positions))}: make one for these structures."
            )
        if mask is None:
            mask = np.isfinite(planned).all(axis=-1)
        mask = np.asarray(mask)
        covered = covered_cells(
            self.cell, cells, positions, mask, self.stretch, limit_compression=True
        )
        if cells is None:
            return covered
        # Only covered cells are inverted, since others may be singular.
        invertible = (np.asarray(covered) & mask.any(axis=-1))[..., None, None]
        cells = np.where(invertible, np.asarray(cells, np.float64), np.eye(3))
        positions = np.asarray(positions, np.float64)
        finite = np.isfinite(positions).all(axis=-1)
        positions = np.where((mask & finite)[..., None], positions, 0.0)
        displacements = positions @ np.linalg.inv(cells) - planned
        displacements = (displacements - np.round(displacements)) @ cells
        # NaN, and so not within the skin, for atoms that were padding in the plan.
        distances = np.linalg.norm(displacements, axis=-1)
        within_skin = distances <= self.skin / 2 + 1e-3
        return bool_or_array(np.asarray(covered) & (within_skin | ~mask).all(axis=-1))


def _check_numbers(
    width_max: float, tolerance: float, skin: float, margin: float
) -> None:
    if not 0 < width_max < math.inf:
        raise ValueError(
            f"`width_max` is a width and must be positive and finite, got {width_max}."
        )
    if not 1e-12 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is an error between 1e-12 and 0.1, got {tolerance}."
        )
    if not (skin >= 0 and margin >= 0):
        raise ValueError(
            f"`skin` and `margin` must not be negative, got {skin} and {margin}."
        )


def _balanced_smearing(cells: np.ndarray, mask: np.ndarray) -> float:
    """The smearing with as many neighbors per atom as there are wave vectors, Å.

    It grows with the sixth root of the volume, the cost with the power 3/2.
    """
    volumes = np.abs(np.linalg.det(cells))
    density = mask.sum(axis=1) / volumes
    # (4π/3) density (2 f s)³ = volume (f/s)³ / (12 π²), with the cutoff factor f
    sixth = volumes / (128 * math.pi**3 * np.maximum(density, 1e-3))
    return float(sixth.max() ** (1 / 6))


def _neighbor_tables(
    coordinates: np.ndarray, cells: np.ndarray, mask: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """The neighbor tables of all graphs, padded to one number of columns."""
    graphs, atoms = mask.shape
    parts = []
    for graph_coordinates, cell, real in zip(coordinates, cells, mask, strict=True):
        rows = np.flatnonzero(real)
        table, shift = neighbor_table(graph_coordinates[rows], cell, cutoff)
        parts.append((rows, rows[table] if rows.size else table, shift))
    columns = max(table.shape[1] for _, table, _ in parts)
    atom_indices = np.arange(atoms, dtype=np.int32)[None, :, None]
    neighbors = np.tile(atom_indices, (graphs, 1, columns))
    shifts = np.zeros((graphs, atoms, columns, 3), np.int8)
    for g, (rows, table, shift) in enumerate(parts):
        neighbors[g, rows, : table.shape[1]] = table
        shifts[g, rows, : table.shape[1]] = shift
    return neighbors, shifts


def _count_preconditioner_vectors(cell: np.ndarray, vectors: np.ndarray) -> int:
    """The number of vectors below the cutoff of the preconditioner."""
    k = 2 * math.pi * vectors @ np.linalg.inv(cell).T
    return int(np.sum(np.sum(k * k, axis=1) < _PRECONDITIONER_CUTOFF**2))


def _mesh_size(
    cells: np.ndarray, smearing: float, tolerance: float
) -> tuple[int, int, int]:
    """Mesh points for the largest cell; the error falls with their sixth power."""
    spacing = smearing * min(0.9, 0.55 * (tolerance / 1e-6) ** (1 / 6))
    longest = np.linalg.norm(cells, axis=-1).max(axis=0)
    x, y, z = (fft_size(length / spacing) for length in longest)
    return x, y, z
