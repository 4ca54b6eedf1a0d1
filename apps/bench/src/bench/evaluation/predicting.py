"""Predictions of a potential."""

import os
from typing import NamedTuple

import equinox as eqx
import numpy as np
from ase.data import chemical_symbols
from backbones import Potential

from bench.batches.loading import BatchedDataset, batch_dataset
from bench.dataset.opening import Dataset, open_dataset
from bench.dataset.per_element import composition_energy
from bench.evaluation.response import born_effective_charges, dipoles
from bench.exceptions import BenchError


class Prediction(NamedTuple):
    """Prediction for one sample, in the units of its labels."""

    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    charges: np.ndarray
    dipole: np.ndarray | None = None
    born_charges: np.ndarray | None = None

    def without_energy(self) -> "Prediction":
        """Returns the prediction of a model that was not trained on energies."""
        return self._replace(energy=None, forces=None, stress=None)

    @property
    def is_finite(self) -> bool:
        """Whether all predicted values are finite."""
        return all(np.isfinite(x).all() for x in self if x is not None)

    def with_sign(self, sign: int) -> "Prediction":
        """Returns the prediction with all charges multiplied by a sign.

        The energy of latent charges does not depend on their overall sign.

        Args:
            sign: 1 or -1.
        """
        multiply = lambda x: None if x is None else sign * x
        return self._replace(
            charges=sign * self.charges,
            dipole=multiply(self.dipole),
            born_charges=multiply(self.born_charges),
        )


def predict(
    potential: Potential,
    dataset: Dataset | str | os.PathLike,
    *,
    born_charges: bool = False,
) -> list[Prediction]:
    """Predicts energies, forces, stress and charges of all structures of a dataset.

    Args:
        potential: from `load_potential`.
        dataset: from `open_dataset`, or what it opens.
        born_charges: whether to compute Born charges, in models with charges.

    Returns:
        One prediction per structure, in the order of `dataset.ids`: `energy` (eV, with
        atomic energies), `forces` (eV/Å), `stress` (eV/Å^3, periodic structures only),
        `charges` (e), `dipole` (e Å, open structures only), `born_charges` (e); None
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
    return predict_samples(potential, batched, np.arange(len(data)), born=born_charges)


def batch_for_prediction(potential: Potential, data: Dataset) -> BatchedDataset:
    """Divides a dataset into batches for a trained potential.

    Args:
        potential: whose cutoff and plans the batches have.
        data: with elements that the potential supports.
    """
    buckets = min(4, len(data))
    return batch_dataset(data, potential.backbone, batch_size=8, num_buckets=buckets)


@eqx.filter_jit
def _evaluate(potential, batch, with_forces: bool, with_born: bool):
    if with_forces:
        out = potential(batch)
        energies, charges = out.energies, out.charges
        forces, stress = out.forces, out.stress
    else:
        (energies, charges), forces, stress = potential.energies(batch), None, None
    has_charges = potential.backbone.has_charges
    dipole = dipoles(batch, charges) if has_charges and batch.cell is None else None
    born = (
        born_effective_charges(potential, batch) if has_charges and with_born else None
    )
    return energies, charges, forces, born, stress, dipole


def predict_samples(
    potential: Potential,
    batched: BatchedDataset,
    members: np.ndarray,
    *,
    forces: bool = True,
    born: bool = False,
) -> list[Prediction]:
    """Returns the predictions for some samples, in the given order.

    Energies are summed over atoms in float64.

    Args:
        potential: to evaluate.
        batched: dataset.
        members: indices of samples.
        forces: whether to predict forces and stress.
        born: whether to predict Born charges.
    """
    atomic_energies = dict(potential.atomic_energies)
    predictions = {}
    for indices, batch in batched.batches(members):
        outputs = _evaluate(potential, batch, forces, born)
        # Open structures have no stress, periodic ones no dipole.
        columns = [
            [None] * len(indices) if x is None else np.asarray(x) for x in outputs
        ]
        for index, energies, charges, sample_forces, tensors, stress, dipole in zip(
            indices, *columns, strict=False
        ):
            sample = batched.data.samples[index]
            n = len(sample.structure)
            unpad = lambda x, n=n: None if x is None else x[:n]
            energy = energies[:n].sum(dtype=np.float64)
            energy += composition_energy(sample, atomic_energies)
            predictions[int(index)] = Prediction(
                energy=float(energy),
                forces=unpad(sample_forces),
                stress=stress,
                charges=charges[:n],
                dipole=dipole,
                born_charges=unpad(tensors),
            )
    return [predictions[int(m)] for m in members]
