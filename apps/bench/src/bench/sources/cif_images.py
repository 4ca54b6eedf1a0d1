"""Atoms that symmetry operations generate from the sites of a CIF."""

import gemmi
import numpy as np
from jaxtyping import Float, Int

from bench.sources.cif_symmetry import Cell, Operations
from bench.sources.row import RowError

SAME_POSITION = 0.05
"""Å; closer images of a site are one atom on a symmetry element."""

TOO_CLOSE = 0.4
"""Å; closer images of a site that are not one atom mean disorder."""

MAX_IMAGES = 2_000_000
"""Images of all sites; a larger number means a damaged file."""


def apply_operations(
    fractional: Float[np.ndarray, "sites 3"], operations: Operations, cell: Cell
) -> tuple[Float[np.ndarray, "atoms 3"], Int[np.ndarray, " atoms"]]:
    """Applies symmetry operations to sites to generate all atoms of the cell.

    Args:
        fractional: coordinates of the sites.
        operations: operations of the space group, including the identity.
        cell: lattice vectors as rows, Å.

    Returns:
        Fractional coordinates in [0, 1), ordered by site, and the site index of each
        atom.

    Raises:
        RowError: a site overlaps with its own image.
    """
    if len(fractional) * len(operations) > MAX_IMAGES:
        raise RowError(
            f"its symmetry has {len(operations)} images of {len(fractional)} sites, "
            f"more than {MAX_IMAGES}"
        )
    rotations = np.array([o.rot for o in operations]) / gemmi.Op.DEN
    shifts = np.array([o.tran for o in operations]) / gemmi.Op.DEN
    images = np.einsum("oij,sj->soi", rotations, fractional) + shifts
    distances = _distances(images - fractional[:, None], cell)
    overlapping = (distances > SAME_POSITION) & (distances < TOO_CLOSE)
    if overlapping.any():
        site = int(np.flatnonzero(overlapping.any(1))[0])
        distance = distances[site][overlapping[site]].min()
        raise RowError(
            f"site {site + 1} is {distance:.2f} Å from "
            "its own symmetric image: it is disordered, or its coordinates have too "
            "few digits; give ordered structures"
        )
    images %= 1.0
    is_special_position = (distances <= SAME_POSITION).sum(1) > 1
    unique = np.ones(distances.shape, bool)
    for site in np.flatnonzero(is_special_position):
        differences = images[site][:, None] - images[site][None]
        same = _distances(differences, cell) <= SAME_POSITION
        unique[site] = ~np.tril(same, -1).any(1)
    return images[unique], np.nonzero(unique)[0]


def _distances(differences: np.ndarray, cell: Cell) -> np.ndarray:
    """Returns distances to the nearest fractional image, Å; exact if they are short."""
    return np.linalg.norm((differences - np.round(differences)) @ cell, axis=-1)
