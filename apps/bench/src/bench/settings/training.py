"""Settings of training: loss, optimizer and schedule."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

import pydantic

from bench.labels import LABELS_BY_KIND, TRAINABLE_KINDS, Label
from bench.settings.installed import check_name, layer_names
from bench.settings.schema import Strict

MAX_WEIGHT = 1e9
"""Largest weight in a loss; larger ones overflow in single precision."""


def _weight(label: Label) -> Any:
    """Returns the type and the field of the weight of a label."""
    description = f"Weight of {label.loss_text}."
    limits = pydantic.Field(
        default=label.loss_weight, ge=0, le=MAX_WEIGHT, description=description
    )
    return float, limits


_LossWeights: type[Strict] = pydantic.create_model(
    "_LossWeights",
    __base__=Strict,
    **{kind: _weight(LABELS_BY_KIND[kind]) for kind in TRAINABLE_KINDS},
)


class LossSettings(_LossWeights):
    """Training loss: a weighted sum of mean squared errors.

    The weights are fields named by the kind of label, such as `energy` and `force`.
    Missing labels do not contribute.
    """

    form: Literal["per-atom", "published"] = "per-atom"
    """`per-atom`: errors of energies per atom, and means over all atoms. `published`:
    errors of total energies, weighted by the number of atoms over its mean, and means
    over the atoms of each structure, then over structures."""
    huber_delta: float | None = pydantic.Field(default=None, ge=1e-9, le=1e9)
    """Huber loss: errors above this value count linearly; None squares all errors."""

    @pydantic.model_validator(mode="after")
    def _check_weights(self) -> "LossSettings":
        if not any(self.weights.values()):
            raise ValueError("all weights are zero: there is nothing to train")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weights by kind of label."""
        return {kind: getattr(self, kind) for kind in TRAINABLE_KINDS}

    def only(self, kind: str) -> bool:
        """Returns whether one kind of label is the only one with a weight.

        Args:
            kind: one of `TRAINABLE_KINDS`.
        """
        return not any(w for k, w in self.weights.items() if k != kind)

    def without(self, kinds: Collection[str]) -> "LossSettings":
        """Returns a copy with zero weights for some kinds of label.

        Args:
            kinds: from `TRAINABLE_KINDS`.
        """
        return self.model_copy(update=dict.fromkeys(kinds, 0.0))


Part = Annotated[
    str,
    pydantic.AfterValidator(
        lambda name: check_name(name, ("backbone", "long_range", *layer_names()))
    ),
]
"""A part of a model:

- `backbone`: all but the parts of the long-range layers, which also has the scale of
  the energies;
- `long_range`: all long-range layers, with the networks between them and the backbone
  (Allegro, DimeNet++), and in Allegro the weights with which updates are added;
- the name of a layer, such as `les`: all layers of this name; with these networks,
  except where a layer that is not frozen is at the same hook.
"""


def _check_frozen(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Rejects frozen parts that include all parameters."""
    if {"backbone", "long_range"} <= set(parts):
        raise ValueError("all parts are frozen: there is nothing to train")
    return parts


Frozen = Annotated[tuple[Part, ...], pydantic.AfterValidator(_check_frozen)]
"""Parts of the model whose weights are not updated, see `Part`."""

Epochs = Annotated[int, pydantic.Field(ge=1, le=1_000_000)]


class Phase(Strict):
    """A number of epochs with one loss and one set of frozen parts."""

    epochs: Epochs
    loss: LossSettings = LossSettings()
    frozen: Frozen = ()


class TrainSettings(Strict):
    """Optimizer, schedule and loss of a training."""

    epochs: Epochs = 20
    batch_size: int = pydantic.Field(default=1, ge=1, le=65_536)
    """Structures per batch and device. On a CPU a step costs as much as its atoms, and
    many small steps train faster than few large ones; a GPU needs larger batches."""
    accumulate_grad_batches: int = pydantic.Field(default=1, ge=1, le=4096)
    """Batches whose gradients each device adds up for one optimizer step."""
    devices: int | None = pydantic.Field(default=None, ge=1, le=65_536)
    """Number of devices that share each step; None uses all."""
    optimizer: Literal["muon", "nadam", "adamw"] = "muon"
    """`muon` orthogonalizes updates of matrices and leaves other weights to `nadam`;
    `nadam` and `adamw` are Adam with and without Nesterov momentum. All have decoupled
    weight decay."""
    learning_rate: float = pydantic.Field(default=0.01, ge=1e-12, le=10)
    """Largest learning rate, after the warm-up."""
    warmup_fraction: float = pydantic.Field(default=0.05, ge=0, lt=1)
    """Fraction of the steps during which the learning rate rises linearly."""
    decay_exponent: float = pydantic.Field(default=1.0, ge=0, le=10)
    """After the warm-up the learning rate decays as this power of the remaining steps:
    0 keeps it, 1 is linear, 2 is quadratic as in the published benchmark."""
    weight_decay: float = pydantic.Field(default=1e-5, ge=0, le=100)
    loss: LossSettings = LossSettings()
    frozen: Frozen = ()
    """Parts of the model whose weights are not updated: `backbone`, `long_range` (all
    layers, with the networks between them and the backbone), or names of layers."""
    pretrain: Annotated[tuple[Phase, ...], pydantic.Field(max_length=100)] = ()
    """Phases before the main `epochs`, such as one with a loss of charges only."""
    patience: int | None = pydantic.Field(default=None, ge=1, le=1_000_000)
    """Epochs without a smaller validation loss after which training stops; None never
    stops early."""
    clip_grad: float = pydantic.Field(default=10.0, ge=1e-9, le=1e12)
    """Largest global norm of the gradient."""
    ema_decay: float = pydantic.Field(default=0.99, ge=0, lt=1)
    """Decay of the moving average of the weights; smaller in the first steps."""
    num_buckets: int = pydantic.Field(default=3, ge=1, le=1000)
    """Number of padded batch shapes; each is compiled once."""

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """Phase of each epoch."""
        last = Phase(epochs=self.epochs, loss=self.loss, frozen=self.frozen)
        return tuple(p for p in (*self.pretrain, last) for _ in range(p.epochs))

    def without(self, kinds: Collection[str]) -> "TrainSettings":
        """Returns a copy with zero weights for some kinds of label.

        Args:
            kinds: from `TRAINABLE_KINDS`; phases that train only on these are removed.
        """
        phases = [
            p.model_copy(update={"loss": p.loss.without(kinds)})
            for p in self.pretrain
            if any(p.loss.without(kinds).weights.values())
        ]
        loss = self.loss.without(kinds)
        return self.model_copy(update={"loss": loss, "pretrain": tuple(phases)})
