"""What the matrix-free Coulomb operator needs to know before tracing."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int
from scipy.special import erfcinv

from ._cell_coverage import bool_or_array, covered_cells
from ._lattice import ROUNDING, checked_cells
from ._pairs import neighbour_table
from ._spline import friendly
from ._vectors import half_sphere, padded, rounded_up

_LEAST_SMEAR = 1.2
# Wave vectors that the preconditioner treats exactly reach this far, 1/Å.
_LOW = 0.5
_MOST_LOW = 192


class ParticleMesh(eqx.Module):
    """Pairs, mesh and wave vectors of the Coulomb operator, one structure or a batch.

    One common smeared Gaussian interacts through the mesh; pairs within a cutoff get
    what their own widths have more. Arrays carry a leading graph axis if made for a
    batch.

    Attributes:
        neighbours: of every atom; the atom itself without a shift on free places.
        shifts: lattice translations to them.
        coordinates: fractional, where the pairs were found; NaN on padding.
        indices: wave vectors, shortest first: a few for the preconditioner, or all of
            them where the sum over them is direct.
        valid: false on padding.
        cell: the cell that all this was chosen for, Å.
        mesh: points along the lattice vectors; None sums over the wave vectors.
        smear: the common width, Å.
        width_max: the largest width that is served, Å.
        skin: atoms may move by half of it, Å.
        stretch: the largest relative strain of the cell that is covered.
        low: number of wave vectors in the preconditioner.
    """

    neighbours: Int[Array, "*graphs atoms neighbours"]
    shifts: Int[Array, "*graphs atoms neighbours 3"]
    coordinates: Float[Array, "*graphs atoms 3"]
    indices: Int[Array, "*graphs vectors 3"]
    valid: Bool[Array, "*graphs vectors"]
    cell: Float[Array, "*graphs 3 3"]
    mesh: tuple[int, int, int] | None = eqx.field(static=True)
    smear: float = eqx.field(static=True)
    width_max: float = eqx.field(static=True)
    skin: float = eqx.field(static=True)
    stretch: float = eqx.field(static=True)
    low: int = eqx.field(static=True)

    @classmethod
    def for_structures(
        cls,
        cells: Float[Array | np.ndarray, "*graphs 3 3"],
        positions: Float[Array | np.ndarray, "*graphs atoms 3"],
        mask: Bool[Array | np.ndarray, "*graphs atoms"] | None = None,
        *,
        width_max: float,
        tolerance: float = 1e-6,
        skin: float = 0.5,
        margin: float = 1e-3,
        direct: bool = False,
    ) -> "ParticleMesh":
        """Pairs and mesh for structures at some positions, made in numpy.

        Args:
            cells: one cell or a batch, rows are lattice vectors, Å.
            positions: Å, wrapped or not.
            mask: false on padding.
            width_max: no Gaussian is wider, Å. Cost grows with its third power.
            tolerance: bound on the error of what a pair contributes, in units of
                14.4 eV/e².
            skin: the pairs serve until an atom has moved by half of it, Å.
            margin: relative strain of the cell that stays covered.
            direct: sum over the wave vectors instead of a mesh; slower, without the
                mesh's error.

        Returns:
            The plan for `coulomb_operator`, with a leading graph axis if `cells` has
            one.

        Raises:
            ValueError: a cell or a position is traced, a cell is singular, or a number
                is out of its range.
        """
        if any(isinstance(x, Tracer) for x in (cells, positions, mask)):
            raise ValueError(
                "Cell or positions are traced, so the pairs are unknown: make the plan "
                "on the host with `ParticleMesh.for_structures(...)` or "
                "`layer.plan_for(...)` and pass it."
            )
        width_max, tolerance = float(width_max), float(tolerance)
        skin, margin = float(skin), float(margin)
        _check_numbers(width_max, tolerance, skin, margin)
        cells = checked_cells(np.asarray(cells))
        flat, graphs = cells.reshape(-1, 3, 3), cells.shape[:-2]
        places = np.asarray(positions, np.float64).reshape(len(flat), -1, 3)
        live = np.ones(places.shape[:2], bool) if mask is None else np.asarray(mask)
        live = live.reshape(places.shape[:2])
        coordinates = np.where(live[..., None], places, 0.0) @ np.linalg.inv(flat)
        reach = float(erfcinv(tolerance / 2))
        stretch = (1.0 + margin) * ROUNDING
        smear = max(_LEAST_SMEAR, width_max)
        if direct:
            smear = max(smear, _balanced(flat, live))
        cutoff = (2 * reach * smear + skin) * stretch
        neighbours, shifts = _tables(coordinates, flat, live, cutoff)
        radius = reach / smear if direct else _LOW
        spheres = [half_sphere(c, radius * stretch, 1_000_000) for c in flat]
        low = [min(_MOST_LOW, _below(c, s)) for c, s in zip(flat, spheres, strict=True)]
        if not direct:
            spheres = [s[:n] for s, n in zip(spheres, low, strict=True)]
        indices, valid = padded(spheres, rounded_up(max(map(len, spheres))))
        shaped = lambda x: jnp.asarray(x.reshape(*graphs, *x.shape[1:]))
        return cls(
            neighbours=shaped(neighbours),
            shifts=shaped(shifts),
            coordinates=shaped(np.where(live[..., None], coordinates, np.nan)),
            indices=shaped(indices),
            valid=shaped(valid),
            cell=jnp.asarray(cells, jnp.result_type(float)),
            mesh=None if direct else _mesh(flat, smear, tolerance),
            smear=smear,
            width_max=width_max,
            skin=skin,
            stretch=stretch,
            low=min(indices.shape[1], rounded_up(max(low))),
        )

    def covers(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "*graphs atoms 3"],
        mask: Bool[Array | np.ndarray, "*graphs atoms"] | None = None,
    ) -> bool | Bool[np.ndarray, " graphs"]:
        """Whether nothing is missing for these structures: a check for the host.

        Args:
            cells: one cell, or one for every graph, Å; None is open: not covered.
            positions: Å, wrapped or not.
            mask: false on padding, whose positions do not matter; without it the atoms
                are those that the plan was made for.

        Returns:
            One answer, or one for every graph.

        Raises:
            ValueError: the number of cells or atoms is not that of the plan.
        """
        planned = np.asarray(self.coordinates, np.float64)
        if np.shape(positions) != planned.shape:
            raise ValueError(
                f"The plan was made for positions of shape {list(planned.shape)}, got "
                f"{list(np.shape(positions))}: make one for these structures."
            )
        live = np.isfinite(planned).all(axis=-1) if mask is None else np.asarray(mask)
        covered = covered_cells(
            self.cell, cells, live, self.stretch, limit_compression=True
        )
        if cells is None:
            return covered
        # Only covered cells are inverted: others may span no space.
        usable = (np.asarray(covered) & live.any(axis=-1))[..., None, None]
        host = np.where(usable, np.asarray(cells, np.float64), np.eye(3))
        places = np.asarray(positions, np.float64)
        known = np.isfinite(places).all(axis=-1)
        places = np.where((live & known)[..., None], places, 0.0)
        moved = places @ np.linalg.inv(host) - planned
        moved = (moved - np.round(moved)) @ host
        # Of an atom that was padding the plan knows no place: NaN, which is not near.
        near = known & (np.linalg.norm(moved, axis=-1) <= self.skin / 2 + 1e-3)
        return bool_or_array(np.asarray(covered) & (near | ~live).all(axis=-1))


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


def _balanced(cells: np.ndarray, live: np.ndarray) -> float:
    """The width at which an atom has as many neighbours as there are wave vectors, Å.

    It grows with the sixth root of the volume, and the work as the 3/2 power.
    """
    volumes = np.abs(np.linalg.det(cells))
    density = live.sum(axis=1) / volumes
    # (4 pi/3) density (2 reach s)³ = volume (reach/s)³ / (12 pi²)
    sixth = volumes / (128 * math.pi**3 * np.maximum(density, 1e-3))
    return float(sixth.max() ** (1 / 6))


def _tables(
    coordinates: np.ndarray, cells: np.ndarray, live: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """The neighbour tables of all graphs in arrays of one width."""
    graphs, atoms = live.shape
    parts = []
    for places, cell, own in zip(coordinates, cells, live, strict=True):
        rows = np.flatnonzero(own)
        table, shift = neighbour_table(places[rows], cell, cutoff)
        parts.append((rows, rows[table] if rows.size else table, shift))
    width = max(table.shape[1] for _, table, _ in parts)
    itself = np.arange(atoms, dtype=np.int32)[None, :, None]
    neighbours = np.tile(itself, (graphs, 1, width))
    shifts = np.zeros((graphs, atoms, width, 3), np.int8)
    for g, (rows, table, shift) in enumerate(parts):
        neighbours[g, rows, : table.shape[1]] = table
        shifts[g, rows, : table.shape[1]] = shift
    return neighbours, shifts


def _below(cell: np.ndarray, vectors: np.ndarray) -> int:
    """How many of the vectors the preconditioner takes."""
    k = 2 * math.pi * vectors @ np.linalg.inv(cell).T
    return int(np.sum(np.sum(k * k, axis=1) < _LOW**2))


def _mesh(cells: np.ndarray, smear: float, tolerance: float) -> tuple[int, int, int]:
    """Points for the largest of the cells; the error falls with their sixth power."""
    spacing = smear * min(0.9, 0.55 * (tolerance / 1e-6) ** (1 / 6))
    longest = np.linalg.norm(cells, axis=-1).max(axis=0)
    x, y, z = (friendly(length / spacing) for length in longest)
    return x, y, z
