"""Where long-range layers enter a backbone, and how they are called over a batch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._backbone import NodeOutput
from ._batch import Batch
from ._contract import LongRange, NoLongRange, uses_total_charge


class Told(NamedTuple):
    """What a long-range layer says of every node besides its update."""

    energies: Float[Array, " nodes"]
    """eV."""
    charges: Float[Array, " nodes"]
    """e."""


class Hooks(eqx.Module):
    """The long-range layers of one backbone, at most one a hook.

    Args:
        layers: from the hook's name to the layer.
        offered: every hook of the backbone with the highest degree it offers.
        elements: atomic numbers of the backbone; a layer's `check_elements`, if it has
            one, refuses those that it does not serve.
        charges: the hook whose charges the model reports; may be left out when there
            is at most one layer.

    Raises:
        ValueError: an unknown hook, a layer of a higher degree than its hook offers or
            one that does not serve an element, or several layers and no word on whose
            charges count.
    """

    layers: dict[str, LongRange]
    charges: str | None = eqx.field(static=True)

    def __init__(
        self,
        layers: Mapping[str, LongRange],
        *,
        offered: Mapping[str, int],
        elements: tuple[int, ...] = (),
        charges: str | None = None,
    ):
        for hook, layer in layers.items():
            if hook not in offered:
                raise ValueError(
                    f"There is no hook {hook!r}; this backbone has "
                    f"{', '.join(map(repr, offered))}."
                )
            if layer.degree > offered[hook]:
                raise ValueError(
                    f"Hook {hook!r} offers features up to degree {offered[hook]}, but "
                    f"{type(layer).__name__} asks for degree {layer.degree}."
                )
            check_elements: Any = getattr(layer, "check_elements", None)
            if check_elements is not None:
                check_elements(np.array(elements, np.int32))
        if charges is None and len(layers) > 1:
            raise ValueError(
                f"There are layers at {', '.join(map(repr, layers))}: say with "
                "`charges` which hook's charges are the model's."
            )
        if charges is not None and charges not in layers:
            raise ValueError(f"`charges` names {charges!r}, a hook without a layer.")
        self.layers = dict(layers)
        self.charges = charges if charges is not None else next(iter(layers), None)

    def __call__(
        self, hook: str, features: Float[Array, "nodes sph channels"], batch: Batch
    ) -> tuple[Float[Array, "nodes sph channels"], Told]:
        """The features with the layer's update added, and what the layer tells.

        Args:
            hook: a hook without a layer leaves everything as it is.
            features: in e3nn order; a layer of lower degree gets and updates the
                leading components.
            batch: the structures, with their plan.
        """
        if hook not in self.layers:
            nothing = jnp.zeros(features.shape[0], features.dtype)
            return features, Told(nothing, nothing)
        update, told = self.update(hook, features, batch)
        return features.at[:, : update.shape[1]].add(update), told

    def update(
        self, hook: str, features: Float[Array, "nodes sph channels"], batch: Batch
    ) -> tuple[Float[Array, "nodes used channels"], Told]:
        """The update alone, of the components that the layer works on."""
        layer = self.layers[hook]
        components = (layer.degree + 1) ** 2
        used = features[:, :components]
        used = used.reshape(batch.graphs, batch.slots, *used.shape[1:])
        if layer.degree == 0:
            used = used[:, :, 0]

        def one(used, positions, cell, mask, facts, plan):
            return layer(used, positions, cell, mask, plan=plan, **facts)

        facts = {
            "species": batch.species,
            "total_charge": batch.total_charge,
            "spin": batch.spin,
        }
        plan = None if batch.plan is None else batch.plan[hook]
        update, energies, charges = jax.vmap(one)(
            used, batch.positions, batch.cell, batch.mask, facts, plan
        )
        update = update.reshape(len(features), components, features.shape[-1])
        return update, Told(energies.reshape(-1), charges.reshape(-1))

    def acts(self, hook: str) -> bool:
        """Whether a layer stands there that is not the identity."""
        return not isinstance(self.layers.get(hook, NoLongRange()), NoLongRange)

    @property
    def has_charges(self) -> bool:
        """Whether a layer says what the charges are."""
        return self.charges is not None and self.acts(self.charges)

    @property
    def uses_total_charge(self) -> bool:
        """Whether the total charge changes what some layer gives."""
        return any(map(uses_total_charge, self.layers.values()))

    def output(
        self, short: Float[Array, "nodes _"], heard: Mapping[str, Told], batch: Batch
    ) -> NodeOutput:
        """What the backbone returns: all energies, and the named layer's charges.

        Args:
            short: the backbone's own energies, one column.
            heard: what the layer of each hook told.
            batch: the structures.
        """
        shape = batch.mask.shape
        energies = jnp.sum(jnp.stack([t.energies for t in heard.values()]), axis=0)
        charges = jnp.zeros(len(short), short.dtype)
        if self.charges is not None:
            charges = heard[self.charges].charges
        return NodeOutput(
            jnp.where(batch.mask, short.reshape(shape), 0.0),
            energies.reshape(shape),
            charges.reshape(shape),
        )

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, **margin: float
    ) -> dict[str, Any]:
        """The plans of all layers, by hook; graphs lead."""
        return {
            hook: layer.plan_for(cells, positions, mask, **margin)
            for hook, layer in self.layers.items()
        }
