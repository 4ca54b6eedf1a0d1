"""Adapts settings and data to what a run can train on."""

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols
from chemsplit import Split

from bench.dataset.composition import ELEMENTS
from bench.dataset.opening import Dataset
from bench.dataset.per_element import elements_of
from bench.exceptions import BenchError
from bench.labels import ENERGY_KINDS, TRAINABLE_KINDS, field_of
from bench.settings.grid import Run
from bench.settings.training import LossSettings, TrainSettings
from bench.training.loop import SplitIndices


def trainable_settings(
    settings: TrainSettings, run: Run, labeled: Collection[str], structures: int
) -> TrainSettings:
    """Returns training settings without losses that the model or the data lack.

    The charge loss needs a model with physical charges, the dipole loss one with any
    charges. A default weight applies only if there are labels.

    Args:
        settings: of the backbone.
        run: determines the layers of the model.
        labeled: kinds of labels of the training set, from `labeled_kinds`.
        structures: number of structures of the training set.

    Raises:
        BenchError: a loss with a weight from the user, or the only loss of a phase, has
            no labels; no loss remains; or all trainable weights are frozen.
    """
    supported = settings.without([k for k in TRAINABLE_KINDS if k not in run.kinds])
    fields = {k: field_of(k) for k in TRAINABLE_KINDS}
    absent = [k for k in TRAINABLE_KINDS if k not in labeled]
    default = LossSettings().weights
    for phase in (*supported.pretrain, supported):
        for kind in absent:
            weight = phase.loss.weights[kind]
            if weight and (weight != default[kind] or phase.loss.only(kind)):
                raise BenchError(
                    f"The loss weighs {fields[kind]} by {weight:g}, but none of the "
                    f"{structures} training structures has {fields[kind]}: set "
                    f"train.loss.{kind}=0, or give their key to `bench prepare`."
                )
    usable = supported.without(absent)
    if not any(usable.loss.weights.values()):
        raise _nothing_to_learn_error(run, labeled)
    return _without_frozen_phases(usable, run)


def labeled_kinds(data: Dataset, members: np.ndarray) -> list[str]:
    """Returns the kinds of labels that at least one structure has.

    Args:
        data: labeled structures.
        members: indices of the training set.
    """
    return [k for k in TRAINABLE_KINDS if data.has(field_of(k))[members].any()]


def predicted_kinds(
    run: Run, settings: TrainSettings, labeled: Collection[str]
) -> tuple[str, ...]:
    """Returns the kinds of labels that a trained model predicts and is compared in.

    A model trained without energies, forces and stress predicts none of them. From
    forces alone, energies are determined only up to a constant.

    Args:
        run: determines the layers of the model.
        settings: from `trainable_settings`.
        labeled: from `labeled_kinds`.
    """
    phases = (*settings.pretrain, settings)
    trained = {k for p in phases for k, weight in p.loss.weights.items() if weight}
    untrained = set()
    if not trained & set(ENERGY_KINDS):
        untrained = set(ENERGY_KINDS)
    elif "energy" not in labeled:
        untrained = {"energy"}
    return tuple(kind for kind in run.kinds if kind not in untrained)


def _nothing_to_learn_error(run: Run, labeled: Collection[str]) -> BenchError:
    names = " and ".join(field_of(kind) for kind in labeled) or "no labels"
    possible = [kind for kind in labeled if kind in run.kinds]
    if possible:
        return BenchError(
            f"Nothing is trained: the training structures have {names}, and train.loss "
            f"has weight zero for those that {run.model} predicts: set "
            f"train.loss.{possible[0]}=1."
        )
    return BenchError(
        f"{run.model} cannot be trained on these data: the training structures have "
        f"{names}, which only models with charges predict, such as long_range=[celli]."
    )


def _without_frozen_phases(settings: TrainSettings, run: Run) -> TrainSettings:
    """Returns settings without phases in which all weights of the model are frozen."""
    if _is_frozen(settings.frozen, run):
        raise BenchError(
            f"train.frozen={list(settings.frozen)} freezes all of {run.model}, so that "
            "nothing would be trained: freeze less."
        )
    phases = [p for p in settings.pretrain if not _is_frozen(p.frozen, run)]
    return settings.model_copy(update={"pretrain": tuple(phases)})


def _is_frozen(frozen: Collection[str], run: Run) -> bool:
    layers = set(run.long_range.split("+")) - {"none"}
    return "backbone" in frozen and ("long_range" in frozen or layers <= set(frozen))


def usable_indices(
    data: Dataset, split: Split, new_elements: Literal["exclude", "error"]
) -> tuple[SplitIndices, dict[str, Any]]:
    """Returns the indices of each set, without structures of new elements.

    Args:
        data: labeled structures.
        split: of the data.
        new_elements: whether validation and test structures with elements that no
            training structure has are excluded or an error.

    Returns:
        Indices, and the number of excluded structures with their new elements.

    Raises:
        BenchError: no structure remains, or `new_elements` is `"error"`.
    """
    train_indices, *others = split.indices(data.ids)
    atoms = data.element_counts
    is_new = np.ones(ELEMENTS, bool)
    is_new[elements_of(data, train_indices)] = False
    new_elements_of = lambda indices: atoms[indices][:, is_new] > 0
    remaining = [i[new_elements_of(i).sum(1) == 0] for i in others]
    if not all(map(len, remaining)):
        raise BenchError(
            "All structures of the test or validation set have elements that the "
            "training set lacks: choose another split or seed."
        )
    structures = new_elements_of(np.concatenate(others)).sum(0)
    symbols = np.array(chemical_symbols)[is_new.nonzero()]
    counts = {str(symbols[i]): int(structures[i]) for i in structures.nonzero()[0]}
    excluded = sum(map(len, others)) - sum(map(len, remaining))
    if excluded and new_elements == "error":
        raise BenchError(
            f"{excluded} structures of the test and validation sets have elements "
            f"that the training set lacks ({', '.join(sorted(counts))}): choose "
            "another split or seed, or exclude them with split.new_elements=exclude."
        )
    return SplitIndices(np.asarray(train_indices), *remaining), {
        "structures": excluded,
        "new_elements": counts,
    }
