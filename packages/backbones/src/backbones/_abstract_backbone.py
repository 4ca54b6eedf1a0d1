"""Members that the backbones of this package share."""

from typing import Any, ClassVar

import equinox as eqx

from ._hooks import Hooks
from ._radial import Bessel


class AbstractBackbone(eqx.Module):
    """Base of the backbones; it has no fields. See `Backbone` for the members."""

    radial: eqx.AbstractVar[Bessel]
    hooks: eqx.AbstractVar[Hooks]
    _triplets: ClassVar[bool]

    @property
    def cutoff(self) -> float:
        """Cutoff of the edges, Å."""
        return self.radial.cutoff

    @property
    def needs_triplets(self) -> bool:
        """Whether batches must have triplets, see `pack`."""
        return self._triplets

    @property
    def has_charges(self) -> bool:
        """Whether a long-range layer predicts charges."""
        return self.hooks.has_charges

    @property
    def uses_total_charge(self) -> bool:
        """Whether a long-range layer depends on the total charge."""
        return self.hooks.uses_total_charge

    def plan_for(self, cells: Any, positions: Any, mask: Any, **margin: float) -> Any:
        """Returns the long-range layers' plans; see `LongRange.plan_for`."""
        return self.hooks.plan_for(cells, positions, mask, **margin)
