"""What of the settings and of the data a run can use."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from chemsplit import Split

from bench.dataset.opening import Dataset, Sample
from bench.exceptions import BenchError
from bench.labels import ENERGY_KINDS, TRAINABLE_KINDS, field_of
from bench.settings.grid import Run
from bench.settings.training import LossSettings, TrainSettings
from bench.training.loop import Parts


def learnable(
    settings: TrainSettings, run: Run, samples: Sequence[Sample]
) -> TrainSettings:
    """The settings without what the model cannot say or the data do not label.

    Charges are compared with labels where they are physical, dipoles where the model
    has charges at all. A weight that was left as it is means "where there are labels".

    Args:
        settings: of the backbone.
        run: which layers.
        samples: of the training part.

    Raises:
        BenchError: a weight was asked for, or a phase learns, without labels; nothing
            is learned, or all that could be is frozen.
    """
    told = settings.without([k for k in TRAINABLE_KINDS if k not in run.kinds])
    fields = {k: field_of(k) for k in TRAINABLE_KINDS}
    labelled = labelled_kinds(samples)
    absent = [k for k in TRAINABLE_KINDS if k not in labelled]
    default = LossSettings().weights
    for phase in (*told.pretrain, told):
        for kind in absent:
            weight = phase.loss.weights[kind]
            if weight and (weight != default[kind] or phase.loss.only(kind)):
                raise BenchError(
                    f"The loss weighs {fields[kind]} by {weight:g}, but none of the "
                    f"{len(samples)} training structures has {fields[kind]}: set "
                    f"train.loss.{kind}=0, or name the labels to `bench prepare`."
                )
    usable = told.without(absent)
    if not any(usable.loss.weights.values()):
        raise _nothing_to_learn(run, labelled)
    return _moving(usable, run)


def labelled_kinds(samples: Sequence[Sample]) -> list[str]:
    """Kinds of labels that some structures have, of those that are learned from.

    Args:
        samples: of the training part.
    """
    has = lambda kind: any(getattr(s, field_of(kind)) is not None for s in samples)
    return [kind for kind in TRAINABLE_KINDS if has(kind)]


def known_kinds(
    run: Run, settings: TrainSettings, labelled: Collection[str]
) -> tuple[str, ...]:
    """What a trained model predicts: the kinds that it is compared in.

    Without energies, forces or stress to learn from, those of a model mean nothing;
    from forces alone its energies are known up to a constant.

    Args:
        run: which layers.
        settings: from `learnable`.
        labelled: see `labelled_kinds`.
    """
    phases = (*settings.pretrain, settings)
    learned = {k for p in phases for k, weight in p.loss.weights.items() if weight}
    unknown = set()
    if not learned & set(ENERGY_KINDS):
        unknown = set(ENERGY_KINDS)
    elif "energy" not in labelled:
        unknown = {"energy"}
    return tuple(kind for kind in run.kinds if kind not in unknown)


def _nothing_to_learn(run: Run, labelled: Sequence[str]) -> BenchError:
    names = " and ".join(field_of(kind) for kind in labelled) or "no labels"
    possible = [kind for kind in labelled if kind in run.kinds]
    if possible:
        return BenchError(
            f"Nothing is learned: the training structures have {names}, and train.loss "
            f"weighs what {run.model} predicts of it by zero: set "
            f"train.loss.{possible[0]}=1."
        )
    return BenchError(
        f"{run.model} can learn nothing from these data: the training structures have "
        f"{names}, which only models with charges predict, such as long_range=[celli]."
    )


def _moving(settings: TrainSettings, run: Run) -> TrainSettings:
    """The settings without phases in which all of this model is frozen."""
    if _is_frozen(settings.frozen, run):
        raise BenchError(
            f"train.frozen={list(settings.frozen)} freezes all of {run.model}, so that "
            "nothing would be learned: leave something free."
        )
    phases = [p for p in settings.pretrain if not _is_frozen(p.frozen, run)]
    return settings.model_copy(update={"pretrain": tuple(phases)})


def _is_frozen(frozen: Collection[str], run: Run) -> bool:
    layers = set(run.long_range.split("+")) - {"none"}
    return "backbone" in frozen and ("long_range" in frozen or layers <= set(frozen))


def usable_parts(
    data: Dataset, split: Split, unseen_are: str
) -> tuple[Parts, dict[str, Any]]:
    """Indices of each part, without structures of elements that training never saw."""
    train_part, *others = split.indices(data.ids)
    known = {int(z) for i in train_part for z in data.samples[i].structure.numbers}
    unseen: dict[str, int] = {}
    kept = []
    for part in others:
        good = []
        for i in part:
            new = {int(z) for z in data.samples[i].structure.numbers} - known
            for z in new:
                symbol = chemical_symbols[z]
                unseen[symbol] = unseen.get(symbol, 0) + 1
            if not new:
                good.append(i)
        if not good:
            raise BenchError(
                "No structure of the test or validation part is made of elements of "
                "the training part: choose another split or seed."
            )
        kept.append(np.array(good))
    dropped = sum(map(len, others)) - sum(map(len, kept))
    if dropped and unseen_are == "refuse":
        raise BenchError(
            f"{dropped} structures of the test and validation parts have elements that "
            f"training never sees ({', '.join(sorted(unseen))}): choose another split "
            "or seed, or leave them out with split.unseen='leave out'."
        )
    return Parts(np.asarray(train_part), *kept), {
        "structures": dropped,
        "unseen": unseen,
    }
