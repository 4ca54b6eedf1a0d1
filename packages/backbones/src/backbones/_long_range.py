"""What a long-range layer is, and the two layers every model can do without."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@runtime_checkable
class LongRange(Protocol):
    """A map from per-atom features to an update of them, energies and charges.

    One structure a call; batches go through `jax.vmap`. Masked atoms neither act nor
    receive, and all three results are exactly zero there. The update is added by the
    backbone. `plan` holds what the layer's `plan_for` made on the host.

    A layer that does not use the total charge has an attribute `uses_total_charge` that
    is false, so that users can be warned of a charge that changes nothing.

    A layer that does not serve every element has a method `check_elements(numbers)`,
    which raises ValueError and names the first of the atomic numbers that it does not
    serve; models call it when they are built.
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
        **facts: Any,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """Returns the update, the energy (eV) and the charge (e) of each atom.

        Args:
            features: scalars, or features up to `degree` in e3nn order.
            positions: Å.
            cell: lattice vectors as rows, Å; None means open boundaries.
            mask: false on padding.
            species: atomic numbers.
            total_charge: e.
            plan: this structure's part of `plan_for`.
            facts: spin, field, ...: ignored where unused.
        """
        ...

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, *, margin: float = 1e-3
    ) -> Any:
        """Host-made facts of the layer's sums, graphs leading; or None.

        None is for what no structure can leave. Any other plan has a method
        `covers(cells, positions, mask)`, see `plan_covers`. What a plan does not cover
        is never computed with it: outside a trace the layer raises ValueError, inside
        one energies and all derivatives are NaN.

        Args:
            cells: `(graphs, 3, 3)` Å, the identity for graphs without atoms; or None
                for open boundaries.
            positions: `(graphs, slots, 3)` Å.
            mask: `(graphs, slots)`.
            margin: relative strain of the cells that the plan covers.
        """
        ...


class NoLongRange(eqx.Module):
    """The identity: no update, no energy, no charge."""

    uses_total_charge: ClassVar[bool] = False
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, **_):
        """Returns zeros of the contract's shapes."""
        del positions, cell
        nothing = jnp.zeros(mask.shape, features.dtype)
        return jnp.zeros_like(features), nothing, nothing

    def plan_for(self, cells, positions, mask, **margin):
        """Returns None: there is no lattice sum."""
        del cells, positions, mask, margin


class Sum(eqx.Module):
    """Several layers at one hook: all see the same features, their triples add.

    Args:
        layers: at least one layer; all of one degree.
    """

    layers: tuple[LongRange, ...]

    def __check_init__(self):
        degrees = [layer.degree for layer in self.layers]
        if len(set(degrees)) != 1:
            raise ValueError(
                "`Sum` needs one or more layers of one degree, got degrees "
                f"{degrees}; put layers of different degree at different hooks."
            )

    @property
    def degree(self) -> int:
        """The common degree of the members."""
        return self.layers[0].degree

    @property
    def uses_total_charge(self) -> bool:
        """Whether the total charge changes what some member gives."""
        return any(map(uses_total_charge, self.layers))

    def __call__(
        self,
        features: Float[Array, "atoms *sph channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        plan: Any = None,
        **facts: Any,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """Returns the sums of the members' updates, energies and charges."""
        plans = (None,) * len(self.layers) if plan is None else plan
        results = [
            layer(features, positions, cell, mask, plan=own, **facts)
            for layer, own in zip(self.layers, plans, strict=True)
        ]
        return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *results)

    def check_elements(self, numbers: Int[np.ndarray, " elements"]) -> None:
        """Refuses elements that a member does not serve.

        Args:
            numbers: atomic numbers.

        Raises:
            ValueError: a member does not serve one of them.
        """
        for layer in self.layers:
            check = getattr(layer, "check_elements", None)
            if check is not None:
                check(numbers)

    def plan_for(self, cells, positions, mask, **margin):
        """Returns a tuple with one plan a member."""
        return tuple(
            layer.plan_for(cells, positions, mask, **margin) for layer in self.layers
        )


def uses_total_charge(layer: Any) -> bool:
    """Whether the total charge may change what a layer gives: unless it says no."""
    return bool(getattr(layer, "uses_total_charge", True))


def plan_covers(
    plan: Any, cells: np.ndarray | None, positions: np.ndarray, mask: np.ndarray
) -> bool:
    """Whether all plans serve these structures: a check for the host.

    Asked before a plan is used for structures that moved or changed their cell; where
    the answer is no, `plan_for` makes a new one.

    Args:
        plan: of a backbone or a layer. Parts have `covers(cells, positions, mask)`,
            which gives one answer or one for every graph; those without serve one
            structure only, so the answer for them is no; None serves all.
        cells: one for every graph of the plan, shape `(graphs, 3, 3)`, Å; None for open
            boundaries. A plan made for the other boundaries does not cover.
        positions: `(graphs, slots, 3)`, Å.
        mask: `(graphs, slots)`, false on padding, whose positions do not matter; nor do
            the cells of graphs without atoms.
    """
    parts = jax.tree.leaves(plan, is_leaf=_is_part)
    return all(
        hasattr(part, "covers") and bool(np.all(part.covers(cells, positions, mask)))
        for part in parts
    )


def _is_part(node: Any) -> bool:
    """Whether a node of a plan answers for itself; containers of plans do not."""
    return hasattr(node, "covers") or not isinstance(
        node, dict | list | tuple | type(None)
    )
