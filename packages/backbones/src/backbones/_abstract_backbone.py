"""Members that backbones share."""

from typing import Any, ClassVar

import equinox as eqx

from ._hooks import Hooks


class AbstractBackbone(eqx.Module):
    """Base of backbones, with the members that follow from the hooks.

    It has no fields of its own. A subclass has the constructor of `Backbone`, the
    members below, a property or field `cutoff`, and `__call__`.
    """

    Size: ClassVar[type]
    needs_triplets: ClassVar[bool]
    hooks: eqx.AbstractVar[Hooks]
    elements: eqx.AbstractVar[tuple[int, ...]]
    size: eqx.AbstractVar[Any]

    @property
    def has_charges(self) -> bool:
        """Whether a long-range layer predicts charges."""
        return self.hooks.has_charges

    def hook_parts(self, hook: str) -> tuple[Any, ...]:
        """Returns nothing: no part besides the layer belongs to a hook.

        Args:
            hook: with a layer.
        """
        del hook
        return ()

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, *, margin: float = 1e-3
    ) -> Any:
        """Returns the long-range layers' plans; see `LongRange.plan_for`."""
        return self.hooks.plan_for(cells, positions, mask, margin=margin)
