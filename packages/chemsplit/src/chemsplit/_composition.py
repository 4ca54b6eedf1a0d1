"""Element fractions of a structure."""

from dataclasses import dataclass

import numpy as np

from ._geometry import Geometry


@dataclass(frozen=True)
class Composition:
    """Fraction of each element among the atoms of a structure.

    Parameters
    ----------
    counts : bool, default=False
        Use numbers of atoms in place of fractions.
    """

    counts: bool = False

    @property
    def columns(self) -> tuple[int, int]:
        """Number of columns for one element, and for a pair of different elements."""
        return 1, 0

    def row(self, geometry: Geometry) -> np.ndarray:
        """Return the fractions of the elements of a structure, in ascending order."""
        counts = np.unique(geometry.numbers, return_counts=True)[1]
        return counts if self.counts else counts / counts.sum()
