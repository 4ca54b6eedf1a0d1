"""Distributions of distances between elements."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import erf

from ._geometry import Geometry

# Pairs of atoms broadened together.
_PAIRS_AT_ONCE = 20_000
# Weight of a pair at the cutoff.
_THRESHOLD = 1e-3


@dataclass(frozen=True)
class Mbtr:
    r"""The pair term of the many-body tensor representation.

    For each pair of elements the distribution of inverse distances or distances,

    .. math:: f_{ZZ'}(x) = \sum_{i \in Z, j \in Z'} w(r_{ij})
        \mathcal{N}(x; g(r_{ij}), \sigma), \qquad
        w(r) = 10^{-3 r / r_\mathrm{cut}},

    on a grid, with its mean over each interval of the grid as value; then the row is
    brought to length one. These are DScribe's numbers for `weighting` "exp" and
    `normalization` "l2"; they are computed here since its version 2.1 fails with new
    versions of ASE and holds all pairs of atoms of a crystal's neighbourhood at once.

    Parameters
    ----------
    function : {"inverse_distance", "distance"}, default="inverse_distance"
        What is distributed, 1/Å or Å.
    low, high : float, default=0.0 and 1.2
        First and last point of the grid, in the same unit.
    n_grid : int, default=60
        Number of points.
    sigma : float, default=0.02
        Width of the Gaussians, in the same unit.
    r_cut : float, default=8.0
        Distance at which the weight has fallen to 1e-3, Å; pairs beyond are left out.

    References
    ----------
    Huo and Rupp, Mach. Learn.: Sci. Technol. 3, 045017 (2022).
    Himanen et al., Comput. Phys. Commun. 247, 106949 (2020).
    """

    function: Literal["inverse_distance", "distance"] = "inverse_distance"
    low: float = 0.0
    high: float = 1.2
    n_grid: int = 60
    sigma: float = 0.02
    r_cut: float = 8.0

    def __post_init__(self):
        if self.function not in ("inverse_distance", "distance"):
            raise ValueError(
                '`function` must be "inverse_distance" or "distance", '
                f"got {self.function!r}."
            )
        if self.n_grid < 2 or self.high <= self.low:
            raise ValueError(
                "The grid needs two points and must ascend, got "
                f"n_grid={self.n_grid} from {self.low} to {self.high}."
            )

    @property
    def columns(self) -> tuple[int, int]:
        """Columns for an element with itself, and for two elements."""
        return self.n_grid, self.n_grid

    def row(self, geometry: Geometry) -> np.ndarray:
        """Compute the distributions over a structure's own elements."""
        n_elements = len(geometry.elements)
        place = np.zeros((n_elements, n_elements), dtype=int)
        first, second = np.triu_indices(n_elements)
        place[first, second] = place[second, first] = np.arange(len(first))
        found = np.zeros((len(first), self.n_grid))
        element = np.searchsorted(geometry.elements, geometry.numbers)
        for i, j, distances in self._pairs(geometry):
            np.add.at(found, place[element[i], element[j]], self._broadened(distances))
        length = np.linalg.norm(found)
        return np.ravel(found / length if length > 0 else found)

    def _pairs(
        self, geometry: Geometry
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield both directions of the pairs of atoms within the cutoff, with images.

        Twice every pair, an atom's own images included: a factor that the length takes.
        """
        from ase.neighborlist import neighbor_list

        listed = neighbor_list("ijd", geometry.to_ase(), self.r_cut)
        n_parts = 1 + len(listed[0]) // _PAIRS_AT_ONCE
        parts = [np.array_split(one, n_parts) for one in listed]
        return zip(*parts, strict=True)

    def _broadened(self, distances: np.ndarray) -> np.ndarray:
        """Weighted Gaussians, averaged over the intervals of the grid."""
        centres = distances if self.function == "distance" else 1 / distances
        step = (self.high - self.low) / (self.n_grid - 1)
        edges = self.low + step * (np.arange(self.n_grid + 1) - 0.5)
        below = erf((edges - centres[:, None]) / (self.sigma * np.sqrt(2))) / 2
        weights = _THRESHOLD ** (distances / self.r_cut)
        return weights[:, None] * np.diff(below, axis=1) / step
