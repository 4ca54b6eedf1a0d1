"""Finds the weights of one run; stops and goes on without losing anything."""

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from backbones import Batch, Potential
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from bench.batches.loading import BatchedDataset, Targets
from bench.dataset.opening import Sample
from bench.evaluation.divergence import (
    divergence_cause,
    find_diverged_step,
    format_ids,
    non_finite_samples,
)
from bench.evaluation.errors import Errors, errors_of, predict
from bench.exceptions import BenchError
from bench.execution.callback import Callback
from bench.execution.hosts import is_main_process, local_copy, wait_for_all
from bench.labels import TRAINABLE_KINDS, field_of
from bench.model.building import LAYER_CLASSES
from bench.settings.training import Part, Phase, TrainSettings
from bench.training.checkpoint import Checkpoints, write_metrics
from bench.training.loss import loss
from bench.training.steps import (
    count_steps,
    device_mesh,
    replicate,
    step_members,
    steps,
    sum_over_batches,
)


class TrainingState(NamedTuple):
    """All that training needs to go on: arrays only, besides the model's shape."""

    potential: Potential
    average: Potential
    """Exponential moving average of the weights; this one is evaluated."""
    optimizer: Any
    best: Float[Array, ""]
    """Smallest validation loss so far."""
    steps: Int[Array, ""]
    """How many were made."""


EpochCallback = Callback[dict[str, Any]]
"""Called with the metrics of each epoch, a row of `metrics.csv`."""


class Parts(NamedTuple):
    """Indices of the samples of a split."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@functools.lru_cache(maxsize=16)
def make_optimizer(settings: TrainSettings, steps: int) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, clipping, warm-up and a quadratic fall.

    The same object for the same settings: a compiled step is found again by it.
    """
    rate, warm = settings.learning_rate, round(settings.warmup * steps)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, max(warm, 1)),
            optax.polynomial_schedule(rate, 0.0, 2, max(steps - warm, 1)),
        ],
        [warm],
    )
    return optax.chain(
        optax.clip_by_global_norm(settings.clip),
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
):
    """One optimizer step: returns the new state and the loss."""
    weights, fixed = eqx.partition(state.potential, eqx.is_inexact_array)
    arrays, static = eqx.partition(fixed, eqx.is_array)

    def one(inputs, shared):
        weights, arrays, whole = shared
        batch, targets = inputs
        of_weights = lambda w: loss(
            eqx.combine(w, arrays, static), batch, targets, phase.loss, whole
        )
        return jax.value_and_grad(of_weights)(weights)

    shared = weights, arrays, inputs[1]
    value, slope = sum_over_batches(one, mesh)(inputs, shared)
    change, inner = optimizer.update(slope, state.optimizer, weights)
    potential = eqx.apply_updates(state.potential, mask_updates(change, phase.frozen))
    # A young average would be the first weights for as long as its memory.
    keep = jnp.minimum(ema, (1 + state.steps) / (10 + state.steps))
    # Written so that weights that do not move stay what they are, to the bit.
    mix = lambda a, b: a + ((1 - keep) * (b - a)).astype(a.dtype)
    old, rest = eqx.partition(state.average, eqx.is_inexact_array)
    new = eqx.filter(potential, eqx.is_inexact_array)
    average = eqx.combine(jax.tree.map(mix, old, new), rest)
    return TrainingState(potential, average, inner, state.best, state.steps + 1), value


def mask_updates(change: Any, frozen: tuple[Part, ...]) -> Any:
    """The change of all weights, zero on frozen parts."""
    still = tuple(LAYER_CLASSES[part] for part in frozen if part in LAYER_CLASSES)

    def keep(path, part):
        inside = any(getattr(key, "name", None) == "hooks" for key in path)
        where: Part = "long_range" if inside else "backbone"
        if where in frozen or isinstance(part, still):
            return jax.tree.map(jnp.zeros_like, part)
        return part

    is_part = lambda x: isinstance(x, still)
    return jax.tree_util.tree_map_with_path(keep, change, is_leaf=is_part)


def train(
    potential: Potential,
    batched: BatchedDataset,
    parts: Parts,
    settings: TrainSettings,
    folder: Path,
    seed: int,
    callback: EpochCallback,
    *,
    made_from: Mapping[str, Any] | None = None,
) -> Potential:
    """The averaged weights of the epoch with the smallest validation loss.

    A checkpoint after every epoch lets a second call with the same folder go on.

    Args:
        potential: freshly built.
        batched: packed data.
        parts: indices of the split.
        settings: phases, rates, weights; charges weigh nothing where they are latent.
        folder: gets `last.npz`, `best.npz`, `metrics.csv` and `metrics.jsonl`.
        seed: order of the data.
        callback: see `EpochCallback`.
        made_from: data, split and settings, see `provenance`; checkpoints of others
            are refused.

    Raises:
        BenchError: the loss is not finite any more, or a checkpoint cannot be used.
    """
    _check_validation(settings, (batched.data.samples[i] for i in parts.validation))
    atomic_energies = dict(potential.atomic_energies)
    schedule = settings.schedule
    mesh = device_mesh(settings)
    weights = settings.loss.weights
    kinds = [k for k in TRAINABLE_KINDS if weights[k] or k not in ("charge", "dipole")]
    number = len(schedule) * count_steps(batched, parts.train, settings)
    optimizer = make_optimizer(settings, number)
    checkpoints = Checkpoints(folder, made_from or {})
    # Each step consumes its state; the caller's potential stays.
    begin = lambda: checkpoints.load_last(_fresh(potential, optimizer))
    state, rows = begin()
    state = replicate(state, mesh)

    def inputs_of(epoch: int):
        order = np.random.default_rng([seed, epoch])
        return steps(batched, parts.train, atomic_energies, order, settings, mesh)

    def advance(state: TrainingState, inputs, epoch: int):
        phase = schedule[epoch]
        return train_step(inputs, state, optimizer, phase, settings.ema, mesh)

    def cause(epoch: int) -> str:
        """Why an epoch broke, found by going through it again."""
        state, one = replicate(begin()[0], mesh), lambda s, x: advance(s, x, epoch)
        broken = find_diverged_step(state, inputs_of(epoch), one)
        if broken is None:
            return "lower train.learning_rate"
        order = np.random.default_rng([seed, epoch])
        step = step_members(batched, parts.train, order, settings)[broken.step]
        return divergence_cause(broken, potential, batched, step)

    for epoch in range(len(rows), len(schedule)):
        if _patience_is_over(rows, settings.patience):
            break
        began, values = time.perf_counter(), []
        for inputs in inputs_of(epoch):
            state, value = advance(state, inputs, epoch)
            values.append(value)
        train_loss = float(np.mean(values, dtype=np.float64))
        if not np.isfinite(train_loss):
            # Several processes would have to agree on where to look.
            alone = jax.process_count() == 1
            raise _diverged(epoch, cause(epoch) if alone else None, checkpoints)
        average = local_copy(state.average)
        errors = validate(average, batched, parts.validation, kinds)
        # The last phase's loss decides which epoch is best, in all phases.
        validation = errors.loss(settings.loss)
        if not np.isfinite(validation):
            lost = format_ids(
                batched, non_finite_samples(average, batched, parts.validation)
            )
            why = (
                f"the prediction for {lost} of the validation part is not finite: "
                "lower train.learning_rate, or look for what is unusual there"
            )
            raise _diverged(epoch, why, checkpoints)
        if validation < state.best:
            best = replicate(jnp.asarray(validation, state.best.dtype), mesh)
            state = state._replace(best=best)
            if is_main_process():
                checkpoints.save_best(state.average, epoch + 1)
        known = errors.known()
        rows.append(
            {
                "epoch": epoch + 1,
                "train_loss": train_loss,
                "validation_loss": validation,
                **{f"validation_{k}_mae": known[f"{k}_mae"] for k in TRAINABLE_KINDS},
                "seconds": time.perf_counter() - began,
            }
        )
        if is_main_process():
            checkpoints.save_last(state, rows)
            write_metrics(rows, folder)
            callback(rows[-1])
    wait_for_all("the end of training")
    best = checkpoints.load_best(local_copy(state.average))
    return best if jax.process_count() > 1 else replicate(best, mesh)


def _fresh(
    potential: Potential, optimizer: optax.GradientTransformation
) -> TrainingState:
    """The state that training begins with."""
    copy = lambda: jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, potential)
    inner = optimizer.init(eqx.filter(potential, eqx.is_inexact_array))
    # Of definite types, or the second epoch would be compiled again.
    best, made = jnp.array(jnp.inf, jnp.result_type(float)), jnp.array(0, jnp.int32)
    return TrainingState(copy(), copy(), inner, best, made)


def _diverged(epoch: int, why: str | None, checkpoints: Checkpoints) -> BenchError:
    good = ""
    if checkpoints.best.exists():
        good = f"; the best weights before are in {checkpoints.best}"
    why = why or "lower train.learning_rate"
    return BenchError(f"Training diverged in epoch {epoch + 1}: {why}{good}.")


def _check_validation(settings: TrainSettings, samples: Iterable[Sample]) -> None:
    """Refuses a validation part that cannot say which epoch is the best."""
    weighed = [field_of(k) for k, weight in settings.loss.weights.items() if weight]
    if not any(getattr(s, label) is not None for s in samples for label in weighed):
        raise BenchError(
            f"No structure of the validation part has {' or '.join(weighed)}, which "
            "train.loss weighs, so that no epoch is the best: choose another seed or "
            "a larger split.validation_fraction."
        )


def _patience_is_over(rows: list[dict[str, Any]], patience: int | None) -> bool:
    """Whether the smallest validation loss is `patience` epochs old."""
    if patience is None or not rows:
        return False
    losses = [row["validation_loss"] for row in rows]
    return len(losses) - 1 - int(np.argmin(losses)) >= patience


def validate(
    potential: Potential,
    batched: BatchedDataset,
    members: np.ndarray,
    kinds: Sequence[str],
) -> Errors:
    """Errors of a potential on some samples.

    Args:
        potential: predicts.
        batched: packed data.
        members: indices of samples.
        kinds: of labels to compare with.
    """
    samples = [batched.data.samples[i] for i in members]
    slopes = any(s.forces is not None or s.stress is not None for s in samples)
    predictions = predict(potential, batched, members, slopes=slopes)
    return errors_of(predictions, samples, kinds)
