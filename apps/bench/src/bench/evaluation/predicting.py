"""Predictions of a potential."""

import dataclasses
import os
from collections.abc import Collection, Mapping
from typing import Any

import equinox as eqx
import numpy as np
from ase.data import chemical_symbols
from backbones import Batch, Potential

from bench.batches.loading import BatchedDataset, batch_dataset
from bench.dataset.opening import Dataset, open_dataset
from bench.dataset.per_element import composition_energy
from bench.evaluation.outputs import outputs_of
from bench.exceptions import BenchError
from bench.labels import ENERGY_KINDS, LABELS, LABELS_BY_KIND, Labeled

_DERIVATIVES = set(ENERGY_KINDS) - {"energy"}


@dataclasses.dataclass(frozen=True)
class Prediction(Labeled):
    """Prediction for one sample. Labels are attributes, such as `prediction.forces`.

    Args:
        labels: predicted values by name, see `bench.labels`.
    """

    labels: Mapping[str, Any]

    def without_energy(self) -> "Prediction":
        """Returns the prediction of a model that was not trained on energies."""
        return Prediction(
            {k: v for k, v in self.labels.items() if not LABELS[k].is_energy}
        )

    @property
    def is_finite(self) -> bool:
        """Whether all predicted values are finite."""
        return all(np.isfinite(x).all() for x in self.labels.values())

    def with_sign(self, sign: int) -> "Prediction":
        """Returns the prediction with all charges multiplied by a sign.

        The energy of latent charges does not depend on their overall sign.

        Args:
            sign: 1 or -1.
        """
        depends = lambda name: "charges" in LABELS[name].predicted_by
        return Prediction(
            {k: sign * v if depends(k) else v for k, v in self.labels.items()}
        )


def predict(
    potential: Potential,
    dataset: Dataset | str | os.PathLike,
    *,
    also: Collection[str] = (),
) -> list[Prediction]:
    """Predicts energies, forces, stress and charges of all structures of a dataset.

    Args:
        potential: from `load_potential`.
        dataset: from `open_dataset`, or what it opens.
        also: kinds of labels that are computed only on request, `born` for the Born
            charges of models with charges.

    Returns:
        One prediction per structure, in the order of `dataset.ids`: `energy` (eV, with
        atomic energies), `forces` (eV/Å), `stress` (eV/Å^3, periodic structures only),
        `charges` (e), `dipole` (e Å, open structures only) and what `also` adds; None
        where the model or the boundary conditions give none.

    Raises:
        BenchError: the data cannot be read, or contain an element that the potential
            was not trained on.

    Examples:
        >>> potential = bench.load_potential("runs/mine/random-mace-seed0")
        >>> predictions = bench.predict(potential, "mine.extxyz")
        >>> energies = [prediction.energy for prediction in predictions]
    """
    data = dataset if isinstance(dataset, Dataset) else open_dataset(str(dataset))
    supported = {z for z, _ in potential.atomic_energies}
    numbers = np.unique(np.asarray(data.columns.arrays["numbers"]))
    unsupported = [chemical_symbols[z] for z in numbers if z not in supported]
    if unsupported:
        elements = ", ".join(chemical_symbols[z] for z in sorted(supported))
        raise BenchError(
            f"{data.name} contains {', '.join(unsupported)}, which the potential was "
            f"not trained on: it supports {elements}."
        )
    batched = batch_for_prediction(potential, data)
    return predict_samples(potential, batched, np.arange(len(data)), also=also)


def batch_for_prediction(potential: Potential, data: Dataset) -> BatchedDataset:
    """Divides a dataset into batches for a trained potential.

    Args:
        potential: whose cutoff and plans the batches have.
        data: with elements that the potential supports.
    """
    buckets = min(4, len(data))
    return batch_dataset(data, potential.backbone, batch_size=8, num_buckets=buckets)


@eqx.filter_jit
def _evaluate(potential: Potential, batch: Batch, kinds: frozenset[str]):
    outputs, energies = outputs_of(potential, batch, kinds)
    # Summed in double precision on the host.
    del outputs["energy"]
    return outputs, energies


def predict_samples(
    potential: Potential,
    batched: BatchedDataset,
    members: np.ndarray,
    *,
    forces: bool = True,
    also: Collection[str] = (),
) -> list[Prediction]:
    """Returns the predictions for some samples, in the given order.

    Energies are summed over atoms in float64.

    Args:
        potential: to evaluate.
        batched: dataset.
        members: indices of samples.
        forces: whether to predict forces and stress.
        also: kinds of labels that are computed only on request.
    """
    atomic_energies = dict(potential.atomic_energies)
    kinds = {k for k, label in LABELS_BY_KIND.items() if not label.on_request}
    kinds = frozenset(kinds | set(also)) - frozenset(() if forces else _DERIVATIVES)
    predictions = {}
    for indices, batch in batched.batches(members):
        outputs, energies = _evaluate(potential, batch, kinds)
        outputs = {kind: np.asarray(x) for kind, x in outputs.items()}
        energies = np.asarray(energies)
        for g, index in enumerate(indices):
            sample = batched.data.samples[index]
            n = len(sample.structure)
            energy = energies[g, :n].sum(dtype=np.float64)
            energy += composition_energy(sample, atomic_energies)
            labels: dict[str, Any] = {"energy": float(energy)}
            for kind, values in outputs.items():
                label = LABELS_BY_KIND[kind]
                value = values[g]
                labels[label.name] = value[:n] if label.per_atom else value
            predictions[int(index)] = Prediction(labels)
    return [predictions[int(m)] for m in members]
