"""One training step: gradient, optimizer update and moving average of the weights."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from backbones import Batch, Potential, Sum
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from bench.batches.targets import Targets
from bench.model.building import layer_classes
from bench.settings.training import Part, Phase
from bench.training.loss import loss
from bench.training.steps import sum_over_batches


class TrainingState(NamedTuple):
    """Everything that a checkpoint stores: only its arrays change during training."""

    potential: Potential
    average: Potential
    """Exponential moving average (EMA) of the weights, which is evaluated."""
    optimizer: Any
    best: Float[Array, ""]
    """Smallest validation loss so far."""
    steps: Int[Array, ""]
    """Number of steps so far."""


def initial_state(
    potential: Potential, optimizer: optax.GradientTransformation
) -> TrainingState:
    """Returns the state before the first step, with copies of the weights.

    Args:
        potential: with initial weights.
        optimizer: from `bench.training.optimizer.make_optimizer`.
    """
    copy = lambda: jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, potential)
    optimizer_state = optimizer.init(eqx.filter(potential, eqx.is_inexact_array))
    # Explicit dtypes: weakly typed scalars would compile the second step again.
    best = jnp.array(jnp.inf, jnp.result_type(float))
    return TrainingState(
        copy(), copy(), optimizer_state, best, steps=jnp.array(0, jnp.int32)
    )


@eqx.filter_jit(donate="all-except-first")
def train_step(
    inputs: tuple[Batch, Targets],
    state: TrainingState,
    optimizer: optax.GradientTransformation,
    phase: Phase,
    ema: float,
    mesh: Mesh,
) -> tuple[TrainingState, Float[Array, ""]]:
    """Returns the state after one step, and the loss before it.

    The buffers of `state` are donated to the result.

    Args:
        inputs: of the step, from `step_inputs`.
        state: before the step.
        optimizer: from `make_optimizer`.
        phase: loss weights and frozen parts.
        ema: largest decay of the moving average.
        mesh: devices that share the step.
    """
    weights, fixed = eqx.partition(state.potential, eqx.is_inexact_array)
    arrays, static = eqx.partition(fixed, eqx.is_array)

    def value_and_gradient(inputs, shared):
        weights, arrays, step_targets = shared
        batch, targets = inputs
        loss_of_weights = lambda w: loss(
            eqx.combine(w, arrays, static), batch, targets, phase.loss, step_targets
        )
        return jax.value_and_grad(loss_of_weights)(weights)

    shared = weights, arrays, inputs[1]
    value, gradient = sum_over_batches(value_and_gradient, mesh)(inputs, shared)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, weights)
    masked: Any = mask_updates(updates, phase.frozen)
    potential = eqx.apply_updates(state.potential, masked)
    # EMA warm-up: a smaller decay at first, so the initial weights are soon forgotten.
    decay = jnp.minimum(ema, (1 + state.steps) / (10 + state.steps))
    # In this form, weights that do not change keep their average bit for bit.
    mix = lambda old, new: old + ((1 - decay) * (new - old)).astype(old.dtype)
    old, rest = eqx.partition(state.average, eqx.is_inexact_array)
    new = eqx.filter(potential, eqx.is_inexact_array)
    average = eqx.combine(jax.tree.map(mix, old, new), rest)
    new_state = TrainingState(
        potential, average, optimizer_state, state.best, state.steps + 1
    )
    return new_state, value


def mask_updates(updates: Any, frozen: tuple[Part, ...]) -> Any:
    """Sets the updates of frozen parts to zero.

    What belongs to a hook besides its layer (`Backbone.hook_parts`) is part of the
    long-range layers. At a hook with several layers it is frozen if all of them are.

    Args:
        updates: a potential whose leaves are the updates of its weights.
        frozen: names of the parts.
    """
    if not frozen:
        return updates
    frozen_classes = tuple(
        kind
        for part in frozen
        if part not in ("backbone", "long_range")
        for kind in layer_classes(part)
    )
    mask = jax.tree.map(lambda _: "backbone" in frozen, updates)
    for hook in updates.backbone.hooks.layers:
        members = _members(updates, hook)
        is_frozen = [
            "long_range" in frozen or isinstance(member, frozen_classes)
            for member in members
        ]
        values = [*is_frozen, *[all(is_frozen)] * len(_parts(updates, hook))]
        for i, value in enumerate(values):
            part = lambda p, hook=hook, i=i: [*_members(p, hook), *_parts(p, hook)][i]
            filled = jax.tree.map(lambda _, value=value: value, part(mask))
            if jax.tree.leaves(filled):
                mask = eqx.tree_at(part, mask, filled)
    zero = lambda masked, update: jnp.zeros_like(update) if masked else update
    return jax.tree.map(zero, mask, updates)


def _parts(potential: Potential, hook: str) -> tuple[Any, ...]:
    return potential.backbone.hook_parts(hook)


def _members(potential: Potential, hook: str) -> list[Any]:
    """Returns the layers at a hook, with those in sums."""
    return _without_sums(potential.backbone.hooks.layers[hook])


def _without_sums(layer: Any) -> list[Any]:
    if not isinstance(layer, Sum):
        return [layer]
    return [member for part in layer.layers for member in _without_sums(part)]
