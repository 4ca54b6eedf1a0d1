"""Fixed sizes of the pair arrays in a compiled program."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class PairCapacity(NamedTuple):
    """Sizes of the padded pair arrays that a program is compiled for."""

    listed: int
    """Pairs within cutoff plus skin, each counted in both directions."""
    within_cutoff: int
    """Largest number of pairs within the cutoff in any step."""
    triplets: int | None = None
    """Largest number of pairs of such pairs; None for models without triplets."""

    def enlarged(self, pairs: int, triplets: int) -> "PairCapacity":
        """Returns a capacity for more pairs within the cutoff, with a reserve.

        Args:
            pairs: within the cutoff.
            triplets: pairs of these pairs; ignored for models without triplets.
        """
        within_cutoff = max(self.within_cutoff, padded_size(pairs))
        if self.triplets is None:
            return self._replace(within_cutoff=within_cutoff)
        return self._replace(
            within_cutoff=within_cutoff,
            triplets=max(self.triplets, padded_size(triplets)),
        )


def padded_size(count: int, factor: float = 1.08) -> int:
    """Returns a multiple of 32 that exceeds a count, so that few sizes are compiled.

    Args:
        count: number of entries to hold.
        factor: relative reserve.
    """
    return -(-int(factor * count + 48) // 32) * 32


def initial_capacity(
    receivers: Sequence[np.ndarray],
    needs_triplets: bool,
    compiled: Iterable[PairCapacity],
) -> PairCapacity:
    """Returns the first compiled capacity that is large enough, or a new one.

    Args:
        receivers: receivers of the pairs within the cutoff, for each replica.
        needs_triplets: whether the model uses triplets of atoms.
        compiled: capacities of existing programs.
    """
    pairs = max(map(len, receivers))
    triplets = max(int(np.sum(np.bincount(r, minlength=1) ** 2)) for r in receivers)
    for capacity in compiled:
        enough_triplets = triplets <= (capacity.triplets or triplets)
        if pairs <= capacity.within_cutoff and enough_triplets:
            return capacity
    return PairCapacity(
        0, padded_size(pairs), padded_size(triplets) if needs_triplets else None
    )
