"""The training loop of a run, which can be interrupted and resumed."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from backbones import Batch, Potential
from jax.sharding import Mesh
from jaxtyping import Array

from bench.batches.loading import BatchedDataset
from bench.batches.targets import Targets
from bench.dataset.opening import Dataset
from bench.evaluation.divergence import (
    divergence_cause,
    find_diverged_step,
    format_ids,
    non_finite_samples,
)
from bench.evaluation.errors import Errors, errors_of
from bench.evaluation.predicting import predict_samples
from bench.exceptions import BenchError
from bench.execution.callback import Callback
from bench.execution.hosts import is_main_process, local_copy, wait_for_all
from bench.labels import TRAINABLE_KINDS, field_of
from bench.settings.training import TrainSettings
from bench.training.checkpoint import Checkpoints, write_metrics
from bench.training.optimizer import make_optimizer
from bench.training.steps import (
    count_steps,
    device_mesh,
    replicate,
    step_inputs,
    step_members,
)
from bench.training.update import TrainingState, initial_state, train_step

EpochCallback = Callback[dict[str, Any]]
"""Called with the metrics of each epoch, a row of `metrics.csv`."""


class SplitIndices(NamedTuple):
    """Indices of the samples in each set of a split."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def train(
    potential: Potential,
    batched: BatchedDataset,
    indices: SplitIndices,
    settings: TrainSettings,
    folder: Path,
    seed: int,
    callback: EpochCallback,
    *,
    made_from: Mapping[str, Any] | None = None,
) -> Potential:
    """Trains a potential and returns the averaged weights of the best epoch.

    The best epoch has the smallest validation loss. A checkpoint is written after each
    epoch; a second call with the same folder resumes from it.

    Args:
        potential: with initial weights.
        batched: dataset with labels.
        indices: of the samples in each set of the split.
        settings: phases, learning rate and loss weights; the charge weight must be
            zero if the model's charges are latent.
        folder: receives `last.npz`, `best.npz`, `metrics.csv` and `metrics.jsonl`.
        seed: seed for shuffling the data.
        callback: see `EpochCallback`.
        made_from: provenance of the run; checkpoints of other inputs are rejected.

    Raises:
        BenchError: the loss is not finite, or a checkpoint cannot be used.
    """
    _check_validation(settings, batched.data, indices.validation)
    batched = batched.with_atomic_energies(dict(potential.atomic_energies))
    mesh = device_mesh(settings)
    schedule = settings.schedule
    total_steps = len(schedule) * count_steps(batched, indices.train, settings)
    checkpoints = Checkpoints(folder, made_from or {})
    # Frozen pydantic models are hashable, which their type does not declare.
    optimizer = make_optimizer(settings, total_steps)  # pyright: ignore[reportArgumentType]
    training = _Training(
        potential, batched, indices, settings, seed, optimizer, mesh, checkpoints
    )
    state, rows = training.resume()
    for epoch in range(len(rows), len(schedule)):
        if _patience_is_exhausted(rows, settings.patience):
            break
        start = time.perf_counter()
        state, train_loss = training.run_epoch(state, epoch)
        errors = training.validate(state, epoch)
        # In every phase, the best epoch is selected by the loss of the last phase.
        validation_loss = errors.loss(settings.loss)
        if validation_loss < state.best:
            best = jnp.asarray(validation_loss, state.best.dtype)
            state = state._replace(best=replicate(best, mesh))
            if is_main_process():
                checkpoints.save_best(state.average, epoch + 1)
        values = errors.as_dict()
        rows.append(
            {
                "epoch": epoch + 1,
                "train_loss": train_loss,
                "validation_loss": validation_loss,
                **{f"validation_{k}_mae": values[f"{k}_mae"] for k in TRAINABLE_KINDS},
                "seconds": time.perf_counter() - start,
            }
        )
        if is_main_process():
            checkpoints.save_last(state, rows)
            write_metrics(rows, folder)
            callback(rows[-1])
    wait_for_all("the end of training")
    best_weights = checkpoints.load_best(local_copy(state.average))
    return best_weights if jax.process_count() > 1 else replicate(best_weights, mesh)


@dataclasses.dataclass(frozen=True, eq=False)
class _Training:
    """The constants of a training run, and operations on its state.

    Args:
        potential: with initial weights.
        batched: dataset with labels.
        indices: of the samples in each set of the split.
        settings: training settings.
        seed: seed for shuffling the data.
        optimizer: from `make_optimizer`.
        mesh: devices that share each step.
        checkpoints: checkpoints of the run.
    """

    potential: Potential
    batched: BatchedDataset
    indices: SplitIndices
    settings: TrainSettings
    seed: int
    optimizer: optax.GradientTransformation
    mesh: Mesh
    checkpoints: Checkpoints

    def resume(self) -> tuple[TrainingState, list[dict[str, Any]]]:
        """Returns the last checkpoint, or the initial state and no rows."""
        # Copies, because each step donates the buffers of its state.
        initial = initial_state(self.potential, self.optimizer)
        state, rows = self.checkpoints.load_last(initial)
        return replicate(state, self.mesh), rows

    def step(
        self, state: TrainingState, inputs: tuple[Batch, Targets], epoch: int
    ) -> tuple[TrainingState, Array]:
        """Returns the state after one step of an epoch, and the loss."""
        phase, ema = self.settings.schedule[epoch], self.settings.ema_decay
        return train_step(inputs, state, self.optimizer, phase, ema, self.mesh)

    def inputs(self, epoch: int) -> Iterator[tuple[Batch, Targets]]:
        """Yields the inputs of each step of an epoch."""
        members, rng = self.indices.train, self._rng(epoch)
        return step_inputs(self.batched, members, rng, self.settings, self.mesh)

    def run_epoch(
        self, state: TrainingState, epoch: int
    ) -> tuple[TrainingState, float]:
        """Returns the state after an epoch, and the mean training loss."""
        losses = []
        for inputs in self.inputs(epoch):
            state, value = self.step(state, inputs, epoch)
            losses.append(value)
        mean_loss = float(np.mean(losses, dtype=np.float64))
        if not np.isfinite(mean_loss):
            # With several processes, all would have to repeat the epoch together.
            cause = self._cause(epoch) if jax.process_count() == 1 else None
            raise self._diverged(epoch, cause or "lower train.learning_rate")
        return state, mean_loss

    def validate(self, state: TrainingState, epoch: int) -> Errors:
        """Returns the errors of the averaged weights on the validation set."""
        weights = self.settings.loss.weights
        optional = ("charge", "dipole")
        kinds = [k for k in TRAINABLE_KINDS if weights[k] or k not in optional]
        average, members = local_copy(state.average), self.indices.validation
        errors = validate(average, self.batched, members, kinds)
        if not np.isfinite(errors.loss(self.settings.loss)):
            failed = non_finite_samples(average, self.batched, members)
            cause = (
                f"the prediction for {format_ids(self.batched, failed)} of the "
                "validation set is not finite: lower train.learning_rate, or check "
                "these structures"
            )
            raise self._diverged(epoch, cause)
        return errors

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch])

    def _cause(self, epoch: int) -> str | None:
        """Repeats an epoch and returns why its loss is not finite, if found."""
        state, _ = self.resume()
        step = lambda state, inputs: self.step(state, inputs, epoch)
        diverged = find_diverged_step(state, self.inputs(epoch), step)
        if diverged is None:
            return None
        members_per_step = step_members(
            self.batched, self.indices.train, self._rng(epoch), self.settings
        )
        members = members_per_step[diverged.step]
        return divergence_cause(diverged, self.potential, self.batched, members)

    def _diverged(self, epoch: int, cause: str) -> BenchError:
        best = ""
        if self.checkpoints.best.exists():
            best = f"; the best weights so far are in {self.checkpoints.best}"
        return BenchError(f"Training diverged in epoch {epoch + 1}: {cause}{best}.")


def _check_validation(
    settings: TrainSettings, data: Dataset, members: np.ndarray
) -> None:
    """Raises an error if the validation set has no label that the loss uses."""
    weights = settings.loss.weights
    labels = [field_of(kind) for kind, weight in weights.items() if weight]
    if not any(data.has(label)[members].any() for label in labels):
        raise BenchError(
            f"No structure of the validation set has {' or '.join(labels)}, which "
            "train.loss uses, so the best epoch cannot be determined: choose another "
            "seed or a larger split.validation_fraction."
        )


def _patience_is_exhausted(rows: list[dict[str, Any]], patience: int | None) -> bool:
    """Returns whether `patience` epochs have passed without a smaller loss."""
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
    """Returns the errors of a potential on some samples.

    Args:
        potential: to evaluate.
        batched: dataset with labels.
        members: indices of samples.
        kinds: kinds of labels to compare with.
    """
    data = batched.data
    forces = any(data.has(label)[members].any() for label in ("forces", "stress"))
    predictions = predict_samples(potential, batched, members, forces=forces)
    return errors_of(predictions, [data.samples[i] for i in members], kinds)
