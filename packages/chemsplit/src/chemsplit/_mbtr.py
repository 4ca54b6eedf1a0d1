"""Many-body tensor representation: distributions of interatomic distances."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import erf

from ._geometry import Geometry

# Pairs of atoms in one block.
_PAIR_BLOCK = 20_000
# Weight of a pair at the cutoff.
_CUTOFF_WEIGHT = 1e-3


@dataclass(frozen=True)
class Mbtr:
    r"""Pair term of the many-body tensor representation (MBTR).

    For each pair of elements, the distribution of inverse distances or distances,

    .. math:: f_{ZZ'}(x) = \sum_{i \in Z, j \in Z'} w(r_{ij})
        \mathcal{N}(x; g(r_{ij}), \sigma), \qquad
        w(r) = 10^{-3 r / r_\mathrm{cut}},

    is averaged over each interval of a grid, and the row is normalized to unit length.
    The values equal those of DScribe for `weighting` "exp" and `normalization` "l2".
    DScribe 2.1 itself is not used because it fails with new versions of ASE and stores
    all pairs of atoms of a crystal at once.

    Parameters
    ----------
    function : {"inverse_distance", "distance"}, default="inverse_distance"
        Quantity that is distributed, in 1/Å or Å.
    low, high : float, default=0.0 and 1.2
        First and last point of the grid, in the same unit.
    n_grid : int, default=60
        Number of points.
    sigma : float, default=0.02
        Width of the Gaussians, in the same unit.
    r_cut : float, default=8.0
        Distance at which the weight is 1e-3, Å; pairs beyond it are ignored.

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
                "The grid needs at least two points in ascending order, got "
                f"n_grid={self.n_grid} from {self.low} to {self.high}."
            )

    @property
    def columns(self) -> tuple[int, int]:
        """Number of columns for one element, and for a pair of different elements."""
        return self.n_grid, self.n_grid

    def row(self, geometry: Geometry) -> np.ndarray:
        """Return the distributions for a structure's own elements."""
        n_elements = len(geometry.elements)
        pair_index = np.zeros((n_elements, n_elements), dtype=int)
        first, second = np.triu_indices(n_elements)
        pair_index[first, second] = pair_index[second, first] = np.arange(len(first))
        distributions = np.zeros((len(first), self.n_grid))
        element = np.searchsorted(geometry.elements, geometry.numbers)
        for i, j, distances in self._pairs(geometry):
            pairs = pair_index[element[i], element[j]]
            np.add.at(distributions, pairs, self._broaden(distances))
        norm = np.linalg.norm(distributions)
        return np.ravel(distributions / norm if norm > 0 else distributions)

    def _pairs(
        self, geometry: Geometry
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield blocks of pairs of atoms within the cutoff, periodic images included.

        Both directions of each pair are listed; the normalization removes the factor.
        """
        from ase.neighborlist import neighbor_list

        columns = neighbor_list("ijd", geometry.to_ase(), self.r_cut)
        n_blocks = 1 + len(columns[0]) // _PAIR_BLOCK
        blocks = [np.array_split(column, n_blocks) for column in columns]
        return zip(*blocks, strict=True)

    def _broaden(self, distances: np.ndarray) -> np.ndarray:
        """Return weighted Gaussians, averaged over the intervals of the grid."""
        centers = distances if self.function == "distance" else 1 / distances
        step = (self.high - self.low) / (self.n_grid - 1)
        edges = self.low + step * (np.arange(self.n_grid + 1) - 0.5)
        cumulative = erf((edges - centers[:, None]) / (self.sigma * np.sqrt(2))) / 2
        weights = _CUTOFF_WEIGHT ** (distances / self.r_cut)
        return weights[:, None] * np.diff(cumulative, axis=1) / step
