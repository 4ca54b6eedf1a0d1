"""Where long-range layers enter a backbone, and how they are called over a batch."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._batch import Batch
from ._contract import LongRange


class Hooks(eqx.Module):
    """The long-range layers of one backbone, at most one a hook.

    Args:
        layers: from the hook's name to the layer.
        offered: every hook of the backbone with the highest degree it offers.
        charges: the hook whose charges the model reports; may be left out when there
            is at most one layer.

    Raises:
        ValueError: an unknown hook, a layer of a higher degree than its hook offers,
            or several layers and no word on whose charges count.
    """

    layers: dict[str, LongRange]
    charges: str | None = eqx.field(static=True)

    def __init__(
        self,
        layers: Mapping[str, LongRange],
        *,
        offered: Mapping[str, int],
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
    ) -> tuple[
        Float[Array, "nodes sph channels"],
        Float[Array, " nodes"],
        Float[Array, " nodes"],
    ]:
        """The features with the layer's update added, energies (eV), charges (e).

        Args:
            hook: a hook without a layer leaves everything as it is.
            features: in e3nn order; a layer of lower degree gets and updates the
                leading components.
            batch: the structures, with their plan.
        """
        nothing = jnp.zeros(features.shape[0], features.dtype)
        if hook not in self.layers:
            return features, nothing, nothing
        layer = self.layers[hook]
        components = (layer.degree + 1) ** 2
        used = features[:, :components]
        used = used.reshape(batch.graphs, batch.slots, *used.shape[1:])
        if layer.degree == 0:
            used = used[:, :, 0]

        def one(used, graph: Batch):
            return layer(
                used,
                graph.positions,
                graph.cell,
                graph.mask,
                species=graph.species,
                total_charge=graph.total_charge,
                spin=graph.spin,
                plan=None if graph.plan is None else graph.plan[hook],
            )

        axes = eqx.tree_at(
            lambda b: (b.senders, b.receivers, b.shifts, b.edge_mask),
            jax.tree.map(lambda _: 0, batch),
            (None, None, None, None),
        )
        update, energies, charges = jax.vmap(one, in_axes=(0, axes))(used, batch)
        update = update.reshape(len(features), components, features.shape[-1])
        features = features.at[:, :components].add(update)
        return features, energies.reshape(-1), charges.reshape(-1)

    def plan_for(self, cells: Any, positions: Any, mask: Any) -> dict[str, Any]:
        """The plans of all layers, by hook; graphs lead."""
        return {
            hook: layer.plan_for(cells, positions, mask)
            for hook, layer in self.layers.items()
        }
