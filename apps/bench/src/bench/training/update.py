"""One training step: gradient, optimizer update and moving average of the weights."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from backbones import Batch, Potential
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from bench.batches.loading import Targets
from bench.model.building import LAYER_CLASSES
from bench.settings.training import Part, Phase, TrainSettings
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
        optimizer: from `make_optimizer`.
    """
    copy = lambda: jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, potential)
    optimizer_state = optimizer.init(eqx.filter(potential, eqx.is_inexact_array))
    # Explicit dtypes: weakly typed scalars would compile the second step again.
    best = jnp.array(jnp.inf, jnp.result_type(float))
    return TrainingState(
        copy(), copy(), optimizer_state, best, steps=jnp.array(0, jnp.int32)
    )


@functools.lru_cache(maxsize=16)
def make_optimizer(settings: TrainSettings, steps: int) -> optax.GradientTransformation:
    """Returns Adam with decoupled weight decay, gradient clipping and a schedule.

    The learning rate rises linearly during warm-up and then decays quadratically to
    zero. Equal settings return the same object, so compiled steps are reused.

    Args:
        settings: learning rate, warm-up, weight decay, clipping and variant of Adam.
        steps: total number of training steps.
    """
    rate, warmup = settings.learning_rate, round(settings.warmup_fraction * steps)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, max(warmup, 1)),
            optax.polynomial_schedule(rate, 0.0, 2, max(steps - warmup, 1)),
        ],
        [warmup],
    )
    return optax.chain(
        optax.clip_by_global_norm(settings.clip_grad),
        optax.adamw(
            schedule,
            b1=0.9,
            b2=0.99,
            weight_decay=settings.weight_decay,
            nesterov=settings.optimizer == "nadam",
        ),
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
    potential = eqx.apply_updates(state.potential, mask_updates(updates, phase.frozen))
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

    Args:
        updates: a potential whose leaves are the updates of its weights.
        frozen: names of the parts.
    """
    frozen_classes = tuple(LAYER_CLASSES[p] for p in frozen if p in LAYER_CLASSES)

    def mask(path, leaf):
        in_hooks = any(getattr(key, "name", None) == "hooks" for key in path)
        part: Part = "long_range" if in_hooks else "backbone"
        if part in frozen or isinstance(leaf, frozen_classes):
            return jax.tree.map(jnp.zeros_like, leaf)
        return leaf

    is_frozen_layer = lambda x: isinstance(x, frozen_classes)
    return jax.tree_util.tree_map_with_path(mask, updates, is_leaf=is_frozen_layer)
