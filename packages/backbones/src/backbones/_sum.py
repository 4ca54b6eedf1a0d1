"""The identity, and sums of long-range layers."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ._installed import build_layer, describe_layer
from ._long_range import LongRange, uses_total_charge


class NoLongRange(eqx.Module):
    """The identity: no update, no energy, no charge."""

    uses_total_charge: ClassVar[bool] = False
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, **_):
        """Returns a zero update, zero energies and zero charges."""
        del positions, cell
        zeros = jnp.zeros(mask.shape, features.dtype)
        return jnp.zeros_like(features), zeros, zeros

    def arguments(self) -> dict[str, Any]:
        """Returns the constructor's arguments, see `LongRange`."""
        return {"degree": self.degree}

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, key: PRNGKeyArray
    ) -> "NoLongRange":
        """Returns the layer; it has no weights.

        Args:
            arguments: from `arguments`.
            key: unused.
        """
        del key
        return cls(**arguments)

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        """Returns None: the layer needs no plan."""
        del cells, positions, mask, margin

    def plan(self, cell, positions, mask=None, *, margin=1e-3):
        """Returns None: the layer needs no plan."""
        del cell, positions, mask, margin


class Sum(eqx.Module):
    """Sum of layers at one hook: of the updates, energies and charges.

    Args:
        layers: one or more layers of the same degree; all get the same features.
    """

    layers: tuple[LongRange, ...]

    def __check_init__(self):
        degrees = [layer.degree for layer in self.layers]
        if len(set(degrees)) != 1:
            raise ValueError(
                "`Sum` needs one or more layers of one degree, got degrees "
                f"{degrees}; use different hooks for layers of different degree."
            )

    @property
    def degree(self) -> int:
        """Degree of the members."""
        return self.layers[0].degree

    @property
    def uses_total_charge(self) -> bool:
        """Whether a member depends on the total charge."""
        return any(map(uses_total_charge, self.layers))

    def __call__(
        self,
        features: Float[Array, "atoms *sph channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        plan: Any = None,
        **kwargs: Any,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """Returns the sums of the members' updates, energies and charges."""
        plans = (None,) * len(self.layers) if plan is None else plan
        results = [
            layer(features, positions, cell, mask, plan=layer_plan, **kwargs)
            for layer, layer_plan in zip(self.layers, plans, strict=True)
        ]
        return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *results)

    def check_elements(self, numbers: Int[np.ndarray, " elements"]) -> None:
        """Raises an error for elements that a member does not support.

        Args:
            numbers: atomic numbers.

        Raises:
            ValueError: a member does not support one of them.
        """
        for layer in self.layers:
            check = getattr(layer, "check_elements", None)
            if check is not None:
                check(numbers)

    def arguments(self) -> dict[str, Any]:
        """Returns the members as a model file names them, see `LongRange`."""
        return {"layers": [describe_layer(layer) for layer in self.layers]}

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, key: PRNGKeyArray
    ) -> "Sum":
        """Returns the sum of layers with initial weights.

        Args:
            arguments: from `arguments`.
            key: seed of the weights.
        """
        members = arguments["layers"]
        return cls(tuple(build_layer(member, key=key) for member in members))

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, *, margin: float = 1e-3
    ) -> tuple[Any, ...]:
        """Returns a tuple of the members' plans for a batch."""
        return tuple(
            layer.plan_for(cells, positions, mask, margin=margin)
            for layer in self.layers
        )

    def plan(
        self, cell: Any, positions: Any, mask: Any = None, *, margin: float = 1e-3
    ) -> tuple[Any, ...]:
        """Returns a tuple of the members' plans for one structure."""
        members: Any = self.layers
        return tuple(
            layer.plan(cell, positions, mask, margin=margin) for layer in members
        )
