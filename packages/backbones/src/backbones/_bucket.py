"""Buckets: structures of similar size, batched in one shape."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._batch import Batch
from ._make_batch import PaddedSizes, make_batch, take_plan
from ._neighbors import Neighbors
from ._structure import Structure


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Structures of similar size, from which batches of one shape are made.

    A function is compiled once per bucket, since all its batches have the same sizes.
    """

    members: np.ndarray
    """Index of each structure in the sequence that was packed."""
    sizes: PaddedSizes
    """Of every batch; any choice of members fits."""
    structures: tuple[Structure, ...]
    """The members."""
    pairs: tuple[Neighbors, ...]
    """Neighbors of each member."""
    dtype: np.dtype
    """Of positions, cells and total charges."""
    plan: Any = None
    """The backbone's plan for all members and, last, for a padding graph."""
    has_triplets: bool = False
    """Whether batches have triplets."""

    def __len__(self):
        return len(self.members)

    @property
    def atom_efficiency(self) -> float:
        """Fraction of the slots of an average batch that are atoms."""
        return float(np.mean([len(s) for s in self.structures])) / self.sizes.slots

    @property
    def edge_efficiency(self) -> float:
        """Fraction of the edges of an average batch that are not padding."""
        mean = float(np.mean([len(p) for p in self.pairs]))
        return mean * self.sizes.graphs / self.sizes.edges

    def batch(self, rows: Sequence[int]) -> Batch:
        """Returns the batch of some members, padded to the bucket's sizes.

        Args:
            rows: indices into `structures`, at most `sizes.graphs` of them.

        Raises:
            ValueError: there are more.
        """
        return make_batch(
            [self.structures[r] for r in rows],
            [self.pairs[r] for r in rows],
            self.sizes,
            take_plan(self.plan, rows, self.sizes.graphs),
            triplets=self.has_triplets,
            dtype=self.dtype,
        )
