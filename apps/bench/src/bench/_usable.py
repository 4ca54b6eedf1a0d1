"""What of the settings and of the data a run can use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from chemsplit import Split

from ._config import Run
from ._dataset import DataSet, Sample
from ._errors import BenchError
from ._train_settings import FIELDS, LEARNED, LossSettings, TrainSettings
from ._training import Parts


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
        BenchError: a weight was asked for, or a phase learns, without labels.
    """
    told = settings.without([k for k in LEARNED if k not in run.kinds])
    fields = {k: FIELDS.get(k, k) for k in LEARNED}
    absent = [
        k for k, f in fields.items() if all(getattr(s, f) is None for s in samples)
    ]
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
    return told.without(absent)


def usable_parts(
    data: DataSet, split: Split, unseen_are: str
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
