"""The optimizer of a training run, with its schedule."""

import functools
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from bench.settings.training import TrainSettings

MUON_UPDATE = 0.75
"""Root mean square of the entries of Muon's updates, in units of the learning rate.

That of Adam's updates is similar, so that both share one learning rate, which suits all
widths.
"""


@functools.lru_cache(maxsize=16)
def make_optimizer(settings: TrainSettings, steps: int) -> optax.GradientTransformation:
    """Returns the optimizer with gradient clipping, weight decay and a schedule.

    The learning rate rises linearly during warm-up and then decays to zero. Equal
    settings return the same object, so compiled steps are reused.

    Args:
        settings: optimizer, learning rate, warm-up, decay, weight decay and clipping.
        steps: total number of training steps.

    References:
        Muon: https://kellerjordan.github.io/posts/muon, with the scaling of arXiv
        2502.16982. NAdam and AdamW: arXiv 1711.05101.
    """
    rate = _schedule(settings, steps)
    decay = settings.weight_decay
    if settings.optimizer == "muon":
        update = muon(
            rate,
            weight_decay=decay,
            adam_b2=0.99,
            adam_weight_decay=decay,
            muon_weight_dimension_numbers=matrix_axes,
            consistent_rms=MUON_UPDATE,
        )
    else:
        update = optax.adamw(
            rate,
            b1=0.9,
            b2=0.99,
            weight_decay=decay,
            nesterov=settings.optimizer == "nadam",
        )
    return optax.chain(optax.clip_by_global_norm(settings.clip_grad), update)


def _schedule(settings: TrainSettings, steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the number of the step."""
    rate, warmup = settings.learning_rate, round(settings.warmup_fraction * steps)
    return optax.join_schedules(
        [
            optax.linear_schedule(rate / max(warmup, 1), rate, max(warmup, 1)),
            optax.polynomial_schedule(
                rate, 0.0, settings.decay_exponent, max(steps - warmup, 1)
            ),
        ],
        [warmup],
    )


def matrix_axes(weights: Any) -> Any:
    """Returns the axes of each leaf that are those of matrices, for Muon.

    Matrices are attributes named `weight`, as in `equinox.nn.Linear`: the last two axes
    of the array, and the axes before them count matrices, such as one per element. For
    other leaves, and for matrices of a single row or column, there is None: Adam
    updates them.

    Args:
        weights: tree of arrays.
    """

    def axes(path, leaf):
        name = getattr(path[-1], "name", None) if path else None
        if name != "weight" or leaf.ndim < 2 or min(leaf.shape[-2:]) < 2:
            return None
        return MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)

    return jax.tree.map_with_path(axes, weights)
