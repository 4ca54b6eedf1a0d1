"""Predictions of a potential for a whole data set."""

import os

import numpy as np
from ase.data import chemical_symbols
from backbones import Potential

from bench.batches.loading import batch_dataset
from bench.dataset.opening import Dataset, open_dataset
from bench.evaluation.errors import Prediction
from bench.evaluation.errors import predict as predict_batches
from bench.exceptions import BenchError
from bench.settings.architectures import ModelSettings
from bench.settings.grid import Grid
from bench.settings.training import TrainSettings


def predict(
    potential: Potential,
    dataset: Dataset | str | os.PathLike,
    *,
    born_charges: bool = False,
) -> list[Prediction]:
    """Predicts energies, forces, stress and charges of all structures of a data set.

    Args:
        potential: from `load_potential`.
        dataset: from `open_dataset`, or what it opens. Labels are not needed.
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
    known = {z for z, _ in potential.atomic_energies}
    numbers = np.unique(np.asarray(data.columns.arrays["numbers"]))
    unknown = [chemical_symbols[z] for z in numbers if z not in known]
    if unknown:
        trained = ", ".join(chemical_symbols[z] for z in sorted(known))
        raise BenchError(
            f"{data.name} contains {', '.join(unknown)}, which the potential was not "
            f"trained on: it knows {trained}."
        )
    model = ModelSettings(cutoff=potential.backbone.cutoff)
    train = TrainSettings(batch=8, buckets=min(4, len(data)))
    grid = Grid(dataset=data.name, model=model, train=train)
    shelf = batch_dataset(data, grid, potential.backbone)
    return predict_batches(potential, shelf, np.arange(len(data)), born=born_charges)
