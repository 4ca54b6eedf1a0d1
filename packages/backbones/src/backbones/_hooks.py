"""The hooks of a backbone: its long-range layers, called on a batch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._batch import Batch
from ._long_range import LongRange, uses_total_charge
from ._sum import NoLongRange


class NodeOutput(NamedTuple):
    """Energies and charges of the atoms, zero on padding."""

    energies: Float[Array, "graphs slots"]
    """Short-range energies before scale and shift, see `Potential`."""
    long_range: Float[Array, "graphs slots"]
    """Energies of the long-range layers, eV."""
    charges: Float[Array, "graphs slots"]
    """Charges of the hook that the model reports, e."""


class LayerOutput(NamedTuple):
    """Energies and charges of a long-range layer, returned with its update."""

    energies: Float[Array, " nodes"]
    """eV."""
    charges: Float[Array, " nodes"]
    """e."""


def no_output(nodes: int, dtype: Any) -> LayerOutput:
    """Returns the zeros of a hook without a layer.

    Args:
        nodes: number of nodes.
        dtype: of the energies and charges.
    """
    zeros = jnp.zeros(nodes, dtype)
    return LayerOutput(zeros, zeros)


class Hooks(eqx.Module):
    """The long-range layers of one backbone, at most one per hook.

    A backbone builds it in its constructor, calls it at each of its hooks, and returns
    `output` with the results of all hooks.

    Args:
        layers: layers by name of the hook.
        offered: highest degree of the features at each hook of the backbone.
        elements: atomic numbers of the backbone; passed to a layer's `check_elements`,
            if it has one.
        charges: the hook whose charges the model predicts; needed only if there are
            two or more layers.

    Raises:
        ValueError: an unknown hook, a layer of a higher degree than its hook offers, a
            layer that does not support an element, an object that is no layer, or two
            or more layers without `charges`.
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
        if not isinstance(layers, Mapping):
            raise ValueError(
                f"`long_range` is a {type(layers).__name__}; expected layers by hook, "
                f"such as {{{next(iter(offered), 'final')!r}: layer}}."
            )
        for hook, layer in layers.items():
            if hook not in offered:
                raise ValueError(
                    f"There is no hook {hook!r}; this backbone has "
                    f"{', '.join(map(repr, offered))}."
                )
            _check_layer(hook, layer)
            if layer.degree > offered[hook]:
                raise ValueError(
                    f"Hook {hook!r} offers features up to degree {offered[hook]}, but "
                    f"{type(layer).__name__} has degree {layer.degree}."
                )
            check_elements: Any = getattr(layer, "check_elements", None)
            if check_elements is not None:
                check_elements(np.array(elements, np.int32))
        if charges is None and len(layers) > 1:
            raise ValueError(
                f"There are layers at {', '.join(map(repr, layers))}: set `charges` to "
                "the hook whose charges the model predicts."
            )
        if charges is not None and charges not in layers:
            raise ValueError(f"`charges` is {charges!r}, a hook without a layer.")
        self.layers = dict(layers)
        self.charges = charges if charges is not None else next(iter(layers), None)

    def __call__(
        self, hook: str, features: Float[Array, "nodes sph channels"], batch: Batch
    ) -> tuple[Float[Array, "nodes sph channels"], LayerOutput]:
        """Returns the features plus the layer's update, and its other output.

        Args:
            hook: name of the hook; without a layer the features are unchanged.
            features: in e3nn order; a layer of lower degree reads and updates the
                leading components.
            batch: the structures, with their plan.
        """
        if hook not in self.layers:
            return features, no_output(len(features), features.dtype)
        update, output = self.update(hook, features, batch)
        return features.at[:, : update.shape[1]].add(update), output

    def update(
        self, hook: str, features: Float[Array, "nodes sph channels"], batch: Batch
    ) -> tuple[Float[Array, "nodes used channels"], LayerOutput]:
        """Returns the layer's update and its other output.

        Args:
            hook: name of a hook with a layer.
            features: in e3nn order; the update has the components up to the layer's
                degree.
            batch: the structures, with their plan.
        """
        layer = self.layers[hook]
        components = (layer.degree + 1) ** 2
        used = features[:, :components]
        used = used.reshape(batch.graphs, batch.slots, *used.shape[1:])
        if layer.degree == 0:
            used = used[:, :, 0]

        def call_layer(used, positions, cell, mask, properties, plan):
            return layer(used, positions, cell, mask, plan=plan, **properties)

        properties = {
            "species": batch.species,
            "total_charge": batch.total_charge,
            "spin": batch.spin,
        }
        plan = None if batch.plan is None else batch.plan[hook]
        try:
            update, energies, charges = jax.vmap(call_layer)(
                used, batch.positions, batch.cell, batch.mask, properties, plan
            )
        except (TypeError, ValueError) as error:
            # Other packages may define errors of their own, with other arguments.
            if type(error) not in (TypeError, ValueError):
                raise
            raise type(error)(
                f"{type(layer).__name__} at hook {hook!r}, called with "
                f"{features.shape[-1]} channels: {error}"
            ) from error
        update = update.reshape(len(features), components, features.shape[-1])
        return update, LayerOutput(energies.reshape(-1), charges.reshape(-1))

    def has_layer(self, hook: str) -> bool:
        """Whether the hook has a layer other than `NoLongRange`."""
        return not isinstance(self.layers.get(hook, NoLongRange()), NoLongRange)

    @property
    def has_charges(self) -> bool:
        """Whether a layer predicts charges."""
        return self.charges is not None and self.has_layer(self.charges)

    @property
    def uses_total_charge(self) -> bool:
        """Whether the output of a layer depends on the total charge."""
        return any(map(uses_total_charge, self.layers.values()))

    def output(
        self,
        short_range: Float[Array, "nodes _"],
        outputs_by_hook: Mapping[str, LayerOutput],
        batch: Batch,
    ) -> NodeOutput:
        """Returns the output of the backbone.

        Args:
            short_range: short-range energies of the nodes, one column.
            outputs_by_hook: output of the layer at each hook.
            batch: the structures.
        """
        shape = batch.mask.shape
        energies = jnp.sum(
            jnp.stack([output.energies for output in outputs_by_hook.values()]), axis=0
        )
        charges = jnp.zeros(len(short_range), short_range.dtype)
        if self.charges is not None:
            charges = outputs_by_hook[self.charges].charges
        return NodeOutput(
            jnp.where(batch.mask, short_range.reshape(shape), 0.0),
            energies.reshape(shape),
            charges.reshape(shape),
        )

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, *, margin: float = 1e-3
    ) -> dict[str, Any]:
        """Returns the plans of all layers by hook; see `LongRange.plan_for`."""
        return {
            hook: layer.plan_for(cells, positions, mask, margin=margin)
            for hook, layer in self.layers.items()
        }


def _check_layer(hook: str, layer: Any) -> None:
    """Raises an error for an object that lacks a member of `LongRange`."""
    if isinstance(layer, type):
        raise ValueError(
            f"The layer at hook {hook!r} is the class {layer.__name__}; expected an "
            f"instance of it, such as {layer.__name__}(channels, key=key)."
        )
    missing = [m for m in ("degree", "__call__", "plan_for") if not hasattr(layer, m)]
    if missing:
        raise ValueError(
            f"The layer at hook {hook!r} is a {type(layer).__name__} without "
            f"`{missing[0]}`; expected a long-range layer, see `LongRange`."
        )
