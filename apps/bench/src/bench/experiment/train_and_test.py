"""Trains one model, tests it, and writes its files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from backbones import Potential, parameter_count, save
from chemsplit import Split

from bench.batches.loading import BatchedDataset, batch_dataset
from bench.dataset.opening import Dataset
from bench.dataset.per_element import (
    atomic_energies_for,
    elements_of,
    force_scale,
    mean_charges,
)
from bench.dataset.provenance import PROVENANCE_KEY, provenance
from bench.evaluation.errors import errors_of, floor_of
from bench.evaluation.held_out import predict_held_out
from bench.evaluation.prediction_files import write_predictions
from bench.execution.environment import environment
from bench.execution.hosts import is_main_process
from bench.execution.memory import reset_peak_memory
from bench.experiment.trainable import (
    labeled_kinds,
    predicted_kinds,
    trainable_settings,
    usable_indices,
)
from bench.files import write_text
from bench.model.building import build_potential
from bench.model.checking import check_writable
from bench.settings.grid import Grid, Run
from bench.training.loop import EpochCallback, SplitIndices, train
from bench.training.steps import device_mesh

RESULT = "result.json"


def train_and_test(
    grid: Grid,
    run: Run,
    batched: BatchedDataset,
    split: Split,
    folder: Path,
    callback: EpochCallback,
) -> dict[str, Any]:
    """Trains a run, tests its best weights, and writes model, predictions and result.

    Args:
        grid: settings.
        run: of the grid.
        batched: from `batch_for_model`.
        split: ids of the training, validation and test set.
        folder: of the run.
        callback: called with the metrics of each epoch.

    Returns:
        The content of `result.json`.
    """
    reset_peak_memory()
    data = batched.data
    made_from = run_provenance(grid, run, data, split)
    indices, excluded = usable_indices(data, split, grid.split.new_elements)
    labeled = labeled_kinds(data, indices.train)
    atomic_energies = atomic_energies_for(data, indices.train)
    potential = initial_potential(grid, run, batched, indices, atomic_energies)
    _write_json(folder / "environment.json", environment())
    given, structures = grid.training(run.backbone), len(indices.train)
    settings = trainable_settings(given, run, labeled, structures)
    kinds = predicted_kinds(run, settings, labeled)
    best = train(
        potential,
        batched,
        indices,
        settings,
        folder,
        run.seed,
        callback,
        made_from=made_from,
    )
    members = {"validation": indices.validation, "test": indices.test}
    held_out = predict_held_out(
        best, batched, members, kinds, align_sign=not run.has_charges
    )
    predictions = held_out.predictions
    _write_json(folder / "cost.json", held_out.cost, indent=None)
    if is_main_process():
        path = folder / "predictions.extxyz"
        write_predictions(path, data, members, predictions, atomic_energies)
    samples = {p: [data.samples[i] for i in m] for p, m in members.items()}
    charges = mean_charges(data, indices.train)
    result = {
        "run": dataclasses.asdict(run),
        "model": run.model,
        "data": data.digest,
        "split_digest": split.digest,
        "parameters": parameter_count(best),
        "sizes": {p: len(getattr(indices, p)) for p in indices._fields},
        "excluded": excluded,
        "errors": {
            p: errors_of(predictions[p], samples[p], kinds).as_dict() for p in samples
        },
        "floors": {
            p: floor_of(samples[p], atomic_energies, charges).as_dict() for p in samples
        },
        "charge_sign": held_out.charge_sign,
        "kinds": list(kinds),
        "settings": grid.model.model_dump(mode="json"),
        PROVENANCE_KEY: made_from,
    }
    if is_main_process():
        save(folder / "model.npz", best)
    # Last, since its presence marks the run as finished.
    _write_json(folder / RESULT, result)
    return result


def run_provenance(grid: Grid, run: Run, data: Dataset, split: Split) -> dict[str, Any]:
    """Returns the provenance of a run on the devices of this process.

    Args:
        grid: settings.
        run: of the grid.
        data: labeled structures.
        split: of the data.
    """
    devices = device_mesh(grid.training(run.backbone)).size
    return provenance(grid, run, data, split, devices)


def batch_for_model(grid: Grid, run: Run, data: Dataset) -> BatchedDataset:
    """Batches a dataset with the edges and lattice plans that a model needs.

    Args:
        grid: settings.
        run: its backbone and layers determine the model.
        data: labeled structures.
    """
    elements = dict.fromkeys(elements_of(data), 0.0)
    # Plans depend on the architecture and not on weights.
    model = build_potential(grid.model, run, elements, avg_num_neighbors=1.0, scale=1.0)
    check_writable(model)
    settings = grid.training(run.backbone)
    return batch_dataset(
        data,
        model.backbone,
        batch_size=settings.batch_size,
        num_buckets=settings.num_buckets,
    )


def initial_potential(
    grid: Grid,
    run: Run,
    batched: BatchedDataset,
    indices: SplitIndices,
    atomic_energies: dict[int, float],
) -> Potential:
    """Returns a potential with initial weights, scaled by the training set.

    Args:
        grid: settings.
        run: of the grid.
        batched: from `batch_for_model`.
        indices: of the samples in each set of the split.
        atomic_energies: eV by atomic number, of the elements of the training set.
    """
    return build_potential(
        grid.model,
        run,
        atomic_energies,
        avg_num_neighbors=float(np.mean(batched.avg_num_neighbors[indices.train])),
        scale=force_scale(batched.data, indices.train),
    )


def _write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    if is_main_process():
        write_text(path, json.dumps(content, indent=indent))
