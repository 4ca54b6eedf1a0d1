"""Check of the members that training, model files and embeddings need."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from .._backbone import Backbone
from .._model_file import same_architecture
from .._potential import Potential
from ._samples import batch_of, sample_structure


class _WidthRecorder(eqx.Module):
    """A layer that records the number of channels at its hook."""

    record: Callable[[int], None] = eqx.field(static=True)
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, **_):
        del positions, cell
        self.record(features.shape[-1])
        zeros = jnp.zeros(mask.shape, features.dtype)
        return jnp.zeros_like(features), zeros, zeros

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        del cells, positions, mask, margin


def check_interface(potential: Potential) -> None:
    """Checks the members of the backbone, and that it is rebuilt from them.

    These are what `save` writes, what `bench` freezes, and the features at the hook
    `"final"`, from which `bench` makes embeddings.

    Args:
        potential: of any precision.
    """
    backbone: Any = potential.backbone
    kind = type(backbone)
    assert isinstance(backbone, Backbone), f"{kind.__name__} is not a `Backbone`."
    assert isinstance(backbone.size, kind.Size), "`size` is not a `Size`."
    hooks = list(backbone.size.widths)
    assert hooks[-1] == "final", f"The last hook of {hooks} is not `final`."
    rebuilt = eqx.filter_eval_shape(
        lambda key, layers: kind(
            backbone.elements,
            backbone.size,
            cutoff=backbone.cutoff,
            avg_num_neighbors=1.0,
            long_range=layers,
            charges=backbone.hooks.charges,
            key=key,
        ),
        jr.key(0),
        backbone.hooks.layers,
    )
    assert same_architecture(backbone, rebuilt), "Its members give another model."
    for hook in backbone.hooks.layers:
        parts = backbone.hook_parts(hook)
        # Raises an error for parts that are not nodes of the backbone.
        eqx.tree_at(lambda b: b.hook_parts(hook), backbone, parts)  # noqa: B023
    widths: list[int] = []
    probed = eqx.tree_at(
        lambda p: p.backbone.hooks.layers,
        potential,
        backbone.hooks.layers | {"final": _WidthRecorder(widths.append)},
    )
    batch = batch_of(probed, sample_structure(probed))
    eqx.filter_eval_shape(lambda: probed.energies(batch))
    assert widths, "No layer is called at the hook `final`."
