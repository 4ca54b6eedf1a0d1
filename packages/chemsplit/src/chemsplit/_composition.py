"""Shares of the elements in a structure."""

from dataclasses import dataclass

import numpy as np

from ._geometry import Geometry


@dataclass(frozen=True)
class Composition:
    """The share of each element among the atoms of a structure.

    Parameters
    ----------
    counts : bool, default=False
        Give numbers of atoms instead of shares.
    """

    counts: bool = False

    @property
    def columns(self) -> tuple[int, int]:
        """Columns for an element with itself, and for two elements."""
        return 1, 0

    def row(self, geometry: Geometry) -> np.ndarray:
        """Count the atoms of a structure's own elements."""
        counts = np.unique(geometry.numbers, return_counts=True)[1]
        return counts if self.counts else counts / counts.sum()
