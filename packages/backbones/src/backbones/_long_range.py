"""The interface of long-range layers, and of their plans."""

from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@runtime_checkable
class LongRange(Protocol):
    """Interface of a layer: features of the atoms to an update, energies and charges.

    A call takes one structure; batches go through `jax.vmap`. Masked atoms do not
    contribute, and all three results are exactly zero there. The backbone adds the
    update to the features.

    A layer whose class is an entry point of the group `backbones.long_range` is built
    by other programs, such as `bench`, as `Layer(channels, *, key, **arguments)`: with
    the number of feature channels at its hook, the seed of its weights, and values that
    JSON has.

    Some members are optional:

    - `arguments()` returns the constructor's arguments except `key`, by name and with
      `channels`, as values that JSON has, so that
      `type(layer)(**layer.arguments(), key=key)` has the same architecture; a
      class with other arguments has a class method `from_arguments(arguments, *, key)`.
      `save` needs it, and the class must be an entry point of the group
      `backbones.long_range` of its package.
    - `plan(cell, positions, mask=None, *, margin=1e-3)` returns the plan for calls
      without a batch.
    - `uses_total_charge` is false for a layer that does not depend on the total charge,
      so that users can be warned of a charge without effect.
    - `check_elements(numbers)` raises ValueError for the first atomic number that the
      layer does not support; a backbone calls it when it is built.
    """

    @property
    def degree(self) -> int:
        """Highest degree of the features: 0 for scalars."""
        ...

    def __call__(
        self,
        features: Float[Array, "atoms *sph channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"],
        total_charge: Float[Array, ""],
        plan: Any = None,
        **kwargs: Any,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """Returns the update, the energy (eV) and the charge (e) of each atom.

        Args:
            features: scalars, or features up to `degree` in e3nn order.
            positions: Å.
            cell: lattice vectors as rows, Å; None for open boundaries.
            mask: false on padding.
            species: atomic numbers.
            total_charge: e.
            plan: the plan of this structure, see `plan_for`; None for layers without.
            kwargs: further properties of the structure, such as `spin`; a layer ignores
                those that it does not use.
        """
        ...

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, *, margin: float = 1e-3
    ) -> Any:
        """Returns the plan: what the layer's sums need that is computed on the host.

        Examples are reciprocal vectors and mesh sizes. The leading axis of its arrays
        is that of the graphs. A plan has a method `covers(cells, positions, mask)`, see
        `plan_covers`; a layer that needs no plan returns None. If a plan does not cover
        a structure the layer raises ValueError outside a trace; inside one energies and
        all derivatives are NaN.

        Args:
            cells: `(graphs, 3, 3)`, Å, the identity for graphs without atoms; None for
                open boundaries.
            positions: `(graphs, slots, 3)`, Å.
            mask: `(graphs, slots)`, false on padding.
            margin: relative strain of the cells that the plan covers.
        """
        ...


def uses_total_charge(layer: Any) -> bool:
    """Whether a layer may depend on the total charge: unless it declares otherwise.

    Args:
        layer: a long-range layer, with or without the optional attribute.
    """
    return bool(getattr(layer, "uses_total_charge", True))


def plan_covers(
    plan: Any, cells: np.ndarray | None, positions: np.ndarray, mask: np.ndarray
) -> bool:
    """Whether a plan is valid for the given structures; for use on the host.

    Check this when atoms or cells have moved; if it is false, make a new plan with
    `plan_for`.

    Args:
        plan: of a backbone or a layer, which may contain plans of several layers. Each
            has a method `covers(cells, positions, mask)` that returns one boolean or
            `(graphs,)` of them; a plan without it is valid for no other structure, and
            None for all.
        cells: `(graphs, 3, 3)`, Å; None for open boundaries. A plan for other
            boundaries does not cover. Cells of graphs without atoms are ignored.
        positions: `(graphs, slots, 3)`, Å.
        mask: `(graphs, slots)`, false on padding, whose positions are ignored.
    """
    parts = jax.tree.leaves(plan, is_leaf=_is_part)
    return all(
        hasattr(part, "covers") and bool(np.all(part.covers(cells, positions, mask)))
        for part in parts
    )


def _is_part(node: Any) -> bool:
    """Whether a node of a plan is the plan of one layer, not a container of plans."""
    return hasattr(node, "covers") or not isinstance(
        node, dict | list | tuple | type(None)
    )
