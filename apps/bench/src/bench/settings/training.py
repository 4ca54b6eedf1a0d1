"""How weights are found: what is learned from, for how long, by which steps."""

from collections.abc import Collection
from typing import Annotated, Literal

import pydantic

from bench.labels import TRAINABLE_KINDS
from bench.settings.architectures import Strict

LARGEST_WEIGHT = 1e9
"""Of a loss: beyond it single precision overflows."""


class LossSettings(Strict):
    """Weights of the mean squared errors that training makes small.

    Labels that a structure lacks count nowhere.
    """

    form: Literal["atoms", "published"] = "atoms"
    """`atoms` takes energies an atom and means over all atoms. `published` takes total
    energies, a structure's in proportion to its atoms over their mean, and means over
    each structure's atoms, then over structures."""
    energy: float = pydantic.Field(default=10.0, ge=0, le=LARGEST_WEIGHT)
    """Of energies in eV an atom; of total energies in eV in the published form."""
    force: float = pydantic.Field(default=1.0, ge=0, le=LARGEST_WEIGHT)
    """Of force components in eV/Å."""
    stress: float = pydantic.Field(default=0.0, ge=0, le=LARGEST_WEIGHT)
    """Of stress components in eV/Å^3."""
    charge: float = pydantic.Field(default=10.0, ge=0, le=LARGEST_WEIGHT)
    """Of charges in e, where the model's charges are physical (CELLI)."""
    dipole: float = pydantic.Field(default=0.0, ge=0, le=LARGEST_WEIGHT)
    """Of components of the total dipole in e Å, where the model has charges."""
    huber: float | None = pydantic.Field(default=None, ge=1e-9, le=1e9)
    """Errors beyond this many of their units count linearly; none: all are squared."""

    @pydantic.model_validator(mode="after")
    def _weighs_something(self) -> "LossSettings":
        if not any(self.weights.values()):
            raise ValueError("all weights are zero, so that nothing would be learned")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weights by kind of label."""
        return {kind: getattr(self, kind) for kind in TRAINABLE_KINDS}

    def only(self, kind: str) -> bool:
        """Whether nothing but one kind of label is learned from."""
        return not any(w for k, w in self.weights.items() if k != kind)

    def without(self, kinds: Collection[str]) -> "LossSettings":
        """The same, with no weight on some kinds of label."""
        return self.model_copy(update=dict.fromkeys(kinds, 0.0))


Part = Literal["backbone", "long_range", "charge", "celli", "efa", "les"]
"""The backbone, all long-range layers, or those of one name."""


def _moving(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Frozen parts, unless they are all."""
    if {"backbone", "long_range"} <= set(parts):
        raise ValueError("everything is frozen, so that nothing would be learned")
    return parts


Frozen = Annotated[tuple[Part, ...], pydantic.AfterValidator(_moving)]
"""Parts that keep the weights they start with."""

Epochs = Annotated[int, pydantic.Field(ge=1, le=1_000_000)]


class Phase(Strict):
    """Some epochs with a loss and frozen parts of their own."""

    epochs: Epochs
    loss: LossSettings = LossSettings()
    frozen: Frozen = ()


class TrainSettings(Strict):
    """How weights are found."""

    epochs: Epochs = 20
    batch: int = pydantic.Field(default=4, ge=1, le=65_536)
    """Structures a device takes at a time."""
    accumulate: int = pydantic.Field(default=1, ge=1, le=4096)
    """Batches whose gradients each device sums before a step."""
    devices: int | None = pydantic.Field(default=None, ge=1, le=65_536)
    """How many share each step; all that JAX finds if absent."""
    optimizer: Literal["nadam", "adamw"] = "nadam"
    """Adam with Nesterov's momentum or without; weight decay is decoupled in both."""
    learning_rate: float = pydantic.Field(default=0.01, ge=1e-12, le=10)
    """Falls as the square of the remaining steps."""
    warmup: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    weight_decay: float = pydantic.Field(default=1e-5, ge=0, le=100)
    loss: LossSettings = LossSettings()
    frozen: Frozen = ()
    """Parts that keep the weights they start with."""
    pretrain: Annotated[tuple[Phase, ...], pydantic.Field(max_length=100)] = ()
    """Phases before the `epochs` above, such as one on charges alone."""
    patience: int | None = pydantic.Field(default=None, ge=1, le=1_000_000)
    """Stop after so many epochs without a smaller validation loss."""
    clip: float = pydantic.Field(default=10.0, ge=1e-9, le=1e12)
    """Largest norm of the gradient."""
    ema: float = pydantic.Field(default=0.99, ge=0, lt=1)
    """Largest decay of the averaged weights that are evaluated; smaller at first."""
    buckets: int = pydantic.Field(default=1, ge=1, le=1000)
    """Shapes of batches; each costs one compilation."""

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """The phase of every epoch."""
        last = Phase(epochs=self.epochs, loss=self.loss, frozen=self.frozen)
        return tuple(p for p in (*self.pretrain, last) for _ in range(p.epochs))

    def without(self, kinds: Collection[str]) -> "TrainSettings":
        """The same, learning nothing from some kinds of label.

        Args:
            kinds: of `TRAINABLE_KINDS`; phases that train on these alone are left out.
        """
        phases = [
            p.model_copy(update={"loss": p.loss.without(kinds)})
            for p in self.pretrain
            if any(p.loss.without(kinds).weights.values())
        ]
        loss = self.loss.without(kinds)
        return self.model_copy(update={"loss": loss, "pretrain": tuple(phases)})
