"""A trained model on data again: other ones, or those it was tested on."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from backbones import Potential
from chemsplit import DescriptorTable
from scipy.sparse import csr_matrix

from bench.batches.loading import BatchedDataset, batch_dataset
from bench.dataset.opening import Dataset, load_for_prediction
from bench.dataset.provenance import KEY, check_provenance
from bench.evaluation.divergence import format_ids
from bench.evaluation.embeddings import mean_features, with_feature_probe
from bench.evaluation.errors import errors_of, floor_of, predict
from bench.evaluation.predictions import write_predictions
from bench.evaluation.run_files import read_grid
from bench.exceptions import BenchError
from bench.files import remove_leftovers, write_text
from bench.labels import KINDS
from bench.model.building import hook_widths
from bench.model.facts import read_model_metadata
from bench.model.saved import file_digest, load_potential
from bench.settings.architectures import ModelSettings
from bench.settings.grid import Grid, Run
from bench.settings.parsing import read_object
from bench.settings.training import TrainSettings

EVALUATION = "evaluation.json"
"""Errors of a model on data."""


class TrainedModel(NamedTuple):
    """A run's model and what is known of it."""

    potential: Potential
    run: Run
    settings: ModelSettings
    charge_sign: int
    kinds: tuple[str, ...]
    """What it predicts, see `predicted_kinds`."""
    made_from: dict[str, Any]
    """Digests of data, split and the model's file, and settings; see `provenance`."""


class Evaluation(NamedTuple):
    """What came of testing a model again."""

    errors: dict[str, float | None]
    floors: dict[str, float | None]
    structures: int
    left_out: dict[str, int]
    """Structures by element the model does not know."""


def load_trained_model(folder: Path) -> TrainedModel:
    """The model of a finished run.

    Args:
        folder: of the run.

    Raises:
        BenchError: there is none.
    """
    potential = load_potential(folder)
    run, settings, found = read_model_metadata(folder)
    digest = {"model": file_digest(folder / "model.npz")}
    made_from = (found.get(KEY) or {}) | digest
    kinds = tuple(found.get("kinds", run.kinds))
    sign = found.get("charge_sign", 1)
    return TrainedModel(potential, run, settings, sign, kinds, made_from)


def training_dataset(folder: Path) -> str:
    """The data set of the grid that a run belongs to.

    Args:
        folder: of the run.

    Raises:
        BenchError: the grid's `config.yaml` is not beside it.
    """
    config = folder.resolve().parent / "config.yaml"
    if not config.exists():
        raise BenchError(f"{config} is missing: say which data to test {folder} on.")
    return read_grid(config.parent).dataset


def evaluate(
    trained: TrainedModel, source: str, out: Path, *, own: bool = False
) -> Evaluation:
    """Writes predictions and errors of a model on a data set.

    Args:
        trained: the model.
        source: as for `load`, but labels may be missing.
        out: folder that gets `predictions.extxyz` and `evaluation.json`.
        own: whether these are the data that it was trained on, which must be what they
            were then.

    Raises:
        BenchError: the data cannot be used, or the folder holds an evaluation of
            another model or of other data.
    """
    potential, run = trained.potential, trained.run
    data, members, left_out = _known(trained, source)
    made_from = _checked(trained, data, out / EVALUATION, own)
    batched = _batched_dataset(trained, data, potential)
    samples = [data.samples[int(i)] for i in members]
    kinds = trained.kinds
    born = "born" in kinds and any(s.born_charges is not None for s in samples)
    predictions = predict(
        potential, batched, members, slopes="force" in kinds, born=born
    )
    lost = np.array([not p.is_finite for p in predictions])
    if lost.any():
        raise BenchError(
            f"The prediction of {run.name} for {format_ids(batched, members[lost])} is "
            "not finite: look for overlapping atoms or a wrong cell there."
        )
    if "force" not in kinds:
        predictions = [p.without_energy() for p in predictions]
    if not run.has_charges:
        predictions = [p.with_sign(trained.charge_sign) for p in predictions]
    atomic_energies = dict(potential.atomic_energies)
    compared = [k for k in KINDS if k in kinds]
    found = Evaluation(
        errors_of(predictions, samples, compared).known(),
        floor_of(samples, atomic_energies, {}).known(),
        len(members),
        left_out,
    )
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    path = out / "predictions.extxyz"
    parts = {"test": members}, {"test": predictions}
    write_predictions(path, data, *parts, atomic_energies)
    facts: dict[str, Any] = {"model": run.name, "data": data.digest, "source": source}
    facts[KEY] = made_from
    write_text(out / EVALUATION, json.dumps(facts | found._asdict(), indent=1))
    return found


def _checked(
    trained: TrainedModel, data: Dataset, path: Path, own: bool
) -> dict[str, Any]:
    """What an evaluation is made from, if nothing speaks against making it."""
    if own:
        check_provenance(
            f"The model of {trained.run.name}",
            None if "data" not in trained.made_from else trained.made_from,
            trained.made_from
            | {"data": data.digest, "atomic_energies": data.atomic_energies},
            "train it again, or name the data to test it on these all the same",
        )
    made_from = trained.made_from | {"data": data.digest}
    if path.exists():
        remedy = f"choose another folder with --out, or delete {path}"
        there = read_object(path, f"{remedy}.").get(KEY)
        check_provenance(str(path), there, made_from, remedy)
    return made_from


def write_embeddings(trained: TrainedModel, source: str, path: Path) -> int:
    """Writes mean node features by id, a description that `chemsplit` reads.

    Args:
        trained: the model.
        source: as for `evaluate`.
        path: ending in `.npz`.

    Returns:
        How many structures it holds.

    Raises:
        BenchError: the data or the path cannot be used.
    """
    width = hook_widths(trained.settings, trained.run)["final"]
    data, members, _ = _known(trained, source)
    potential = with_feature_probe(trained.potential, width)
    rows = mean_features(potential, _batched_dataset(trained, data, potential), members)
    samples = [data.samples[int(i)] for i in members]
    facts = {"descriptor": "mean node features", "model": trained.run.name}
    description = DescriptorTable(
        csr_matrix(rows),
        tuple(s.id for s in samples),
        tuple(s.structure.numbers for s in samples),
        tuple(s.group for s in samples),
        facts,
    )
    try:
        description.save(path)
    except ValueError as error:
        raise BenchError(str(error)) from error
    return len(members)


def _known(
    trained: TrainedModel, source: str
) -> tuple[Dataset, np.ndarray, dict[str, int]]:
    """Data, the structures made of elements that the model knows, and the others."""
    data = load_for_prediction(source)
    known = {z for z, _ in trained.potential.atomic_energies}
    kept, left_out = [], {}
    for i, sample in enumerate(data.samples):
        new = {int(z) for z in sample.structure.numbers} - known
        for z in new:
            symbol = chemical_symbols[z]
            left_out[symbol] = left_out.get(symbol, 0) + 1
        if not new:
            kept.append(i)
    if not kept:
        raise BenchError(
            f"No structure of {source} is made of elements that {trained.run.name} "
            f"knows ({', '.join(chemical_symbols[z] for z in sorted(known))})."
        )
    return data, np.array(kept), left_out


def _batched_dataset(
    trained: TrainedModel, data: Dataset, potential: Potential
) -> BatchedDataset:
    train = TrainSettings(batch=8, buckets=min(4, len(data)))
    grid = Grid(dataset=data.name, model=trained.settings, train=train)
    return batch_dataset(data, grid, potential.backbone)
