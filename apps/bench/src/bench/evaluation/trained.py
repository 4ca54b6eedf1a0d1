"""Evaluation of a trained model on a dataset."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from backbones import Potential
from chemsplit import DescriptorTable
from scipy.sparse import csr_matrix

from bench.dataset.composition import ELEMENTS
from bench.dataset.opening import Dataset, load_for_prediction
from bench.dataset.provenance import PROVENANCE_KEY, check_provenance
from bench.evaluation.divergence import format_ids
from bench.evaluation.embeddings import mean_features, with_feature_probe
from bench.evaluation.errors import errors_of, floor_of
from bench.evaluation.predicting import batch_for_prediction, predict_samples
from bench.evaluation.prediction_files import write_predictions
from bench.evaluation.run_files import read_grid
from bench.exceptions import BenchError
from bench.files import remove_leftovers, write_text
from bench.labels import KINDS, LABELS_BY_KIND, field_of
from bench.model.metadata import read_model_metadata
from bench.model.saved import file_digest, load_potential
from bench.settings.grid import Run
from bench.settings.parsing import read_object

EVALUATION = "evaluation.json"
"""File of the errors of a model on a dataset."""


class TrainedModel(NamedTuple):
    """The model of a run and its metadata."""

    potential: Potential
    run: Run
    charge_sign: int
    kinds: tuple[str, ...]
    """Kinds of labels that it predicts, see `predicted_kinds`."""
    made_from: dict[str, Any]
    """Provenance of the run, with the digest of the model file as `model`."""


class Evaluation(NamedTuple):
    """Errors of a model on a dataset."""

    errors: dict[str, float | None]
    floors: dict[str, float | None]
    structures: int
    """Number of evaluated structures."""
    left_out: dict[str, int]
    """Number of skipped structures by element that the model lacks."""


def load_trained_model(folder: Path) -> TrainedModel:
    """Loads the model of a finished run.

    Args:
        folder: of the run.

    Raises:
        BenchError: the run is not finished, or a file is damaged.
    """
    potential = load_potential(folder)
    run, metadata = read_model_metadata(folder)
    digest = {"model": file_digest(folder / "model.npz")}
    made_from = (metadata.get(PROVENANCE_KEY) or {}) | digest
    kinds = tuple(metadata.get("kinds", run.kinds))
    sign = metadata.get("charge_sign", 1)
    return TrainedModel(potential, run, sign, kinds, made_from)


def training_dataset(folder: Path) -> str:
    """Returns the dataset that a run was trained on, as named in its grid.

    Args:
        folder: of the run.

    Raises:
        BenchError: the parent folder has no `config.yaml`.
    """
    config = folder.resolve().parent / "config.yaml"
    if not config.exists():
        raise BenchError(
            f"{config} is missing: specify which data to test {folder} on."
        )
    return read_grid(config.parent).dataset


def evaluate(
    trained: TrainedModel, source: str, out: Path, *, is_training_data: bool = False
) -> Evaluation:
    """Writes and returns the errors of a model on a dataset.

    Args:
        trained: the model.
        source: name or path of a dataset; labels may be missing.
        out: folder that receives `predictions.extxyz` and `evaluation.json`.
        is_training_data: whether the model was trained on this dataset, which must
            not have changed since.

    Raises:
        BenchError: the data cannot be used, or the folder contains an evaluation of
            another model or of other data.
    """
    potential, run = trained.potential, trained.run
    data, members, left_out = _supported_samples(trained, source)
    made_from = _checked_provenance(trained, data, out / EVALUATION, is_training_data)
    batched = batch_for_prediction(potential, data)
    samples = [data.samples[int(i)] for i in members]
    kinds = trained.kinds
    requested = [
        kind
        for kind in kinds
        if LABELS_BY_KIND[kind].on_request and data.has(field_of(kind))[members].any()
    ]
    predictions = predict_samples(
        potential, batched, members, forces="force" in kinds, also=requested
    )
    non_finite = np.array([not p.is_finite for p in predictions])
    if non_finite.any():
        raise BenchError(
            f"The prediction of {run.name} for "
            f"{format_ids(batched, members[non_finite])} is not finite: look "
            "for overlapping atoms or a wrong cell there."
        )
    if "force" not in kinds:
        predictions = [p.without_energy() for p in predictions]
    if not run.has_charges:
        predictions = [p.with_sign(trained.charge_sign) for p in predictions]
    atomic_energies = dict(potential.atomic_energies)
    evaluation = Evaluation(
        errors_of(predictions, samples, [k for k in KINDS if k in kinds]).as_dict(),
        floor_of(samples, atomic_energies, {}).as_dict(),
        len(members),
        left_out,
    )
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    path = out / "predictions.extxyz"
    write_predictions(
        path, data, {"test": members}, {"test": predictions}, atomic_energies
    )
    header: dict[str, Any] = {"model": run.name, "data": data.digest, "source": source}
    header[PROVENANCE_KEY] = made_from
    write_text(out / EVALUATION, json.dumps(header | evaluation._asdict(), indent=1))
    return evaluation


def _checked_provenance(
    trained: TrainedModel, data: Dataset, path: Path, is_training_data: bool
) -> dict[str, Any]:
    """Returns the provenance of an evaluation, and checks an existing one.

    Training data must be unchanged since training.
    """
    if is_training_data:
        check_provenance(
            f"The model of {trained.run.name}",
            None if "data" not in trained.made_from else trained.made_from,
            trained.made_from
            | {"data": data.digest, "atomic_energies": data.atomic_energies},
            "train it again, or pass the dataset explicitly to test on it as it is",
        )
    made_from = trained.made_from | {"data": data.digest}
    if path.exists():
        remedy = f"choose another folder with --out, or delete {path}"
        existing = read_object(path, f"{remedy}.").get(PROVENANCE_KEY)
        check_provenance(str(path), existing, made_from, remedy)
    return made_from


def write_embeddings(trained: TrainedModel, source: str, path: Path) -> int:
    """Writes mean node features as a `chemsplit` descriptor table.

    Args:
        trained: the model.
        source: as for `evaluate`.
        path: of the file, ending in `.npz`.

    Returns:
        The number of structures in the file.

    Raises:
        BenchError: the data or the path cannot be used.
    """
    data, members, _ = _supported_samples(trained, source)
    potential = with_feature_probe(trained.potential)
    rows = mean_features(potential, batch_for_prediction(potential, data), members)
    samples = [data.samples[int(i)] for i in members]
    settings = {"descriptor": "mean node features", "model": trained.run.name}
    table = DescriptorTable(
        csr_matrix(rows),
        tuple(s.id for s in samples),
        tuple(s.structure.numbers for s in samples),
        tuple(s.group for s in samples),
        settings,
    )
    try:
        table.save(path)
    except ValueError as error:
        raise BenchError(str(error)) from error
    return len(members)


def _supported_samples(
    trained: TrainedModel, source: str
) -> tuple[Dataset, np.ndarray, dict[str, int]]:
    """Opens a dataset.

    Returns:
        The data, indices of the samples whose elements the model supports, and the
        number of other samples by unsupported element.
    """
    data = load_for_prediction(source)
    supported = sorted(z for z, _ in trained.potential.atomic_energies)
    unsupported = np.ones(ELEMENTS, bool)
    unsupported[supported] = False
    occurs = data.element_counts[:, unsupported] > 0
    members = np.flatnonzero(occurs.sum(1) == 0)
    symbols = np.array(chemical_symbols)[unsupported.nonzero()]
    structures = occurs.sum(0)
    left_out = {str(symbols[i]): int(structures[i]) for i in structures.nonzero()[0]}
    if not len(members):
        raise BenchError(
            f"No structure of {source} consists of elements that {trained.run.name} "
            f"supports ({', '.join(chemical_symbols[z] for z in supported)})."
        )
    return data, members, left_out
