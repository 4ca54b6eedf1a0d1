"""Runs a grid: every combination once, each in a folder of its own."""

import dataclasses
import json
import platform
import time
from collections.abc import Callable
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import yaml
from ase.data import chemical_symbols
from backbones import parameter_count
from chemsplit import Split

from ._config import Grid, Run
from ._dataset import DataSet, Sample, load
from ._errors import BenchError
from ._evaluation import errors_of, floor_of, predict, write_predictions
from ._loading import Shelf, fill_shelf
from ._model import build_potential
from ._references import fit_references, mean_charges
from ._splits import split_data, stored_descriptors
from ._training import Parts, train


@contextmanager
def output_folder(folder: Path, grid: Grid):
    """Holds an output folder for one process and one experiment.

    Raises:
        BenchError: another process works in it, or it belongs to another experiment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BenchError(
            f"Another process is working in {folder}: wait for it, or choose another "
            "folder with --out."
        ) from None
    try:
        config = folder / "config.yaml"
        values = grid.model_dump(mode="json")
        if config.exists() and yaml.safe_load(config.read_text()) != values:
            raise BenchError(
                f"{folder} holds an experiment with other settings: choose another "
                "folder with --out, or delete that one."
            )
        _write(config, yaml.safe_dump(values, sort_keys=False))
        yield folder
    finally:
        lock.release()


class Outcome(NamedTuple):
    """What came of a grid."""

    results: list[dict[str, Any]]
    """Of every run that finished, as written to its `result.json`."""
    failures: dict[str, str]
    """Why the others did not, by name."""


def run_grid(
    grid: Grid, folder: Path, tell: Callable[[Run, dict[str, Any] | None], None]
) -> Outcome:
    """Trains and tests every run of a grid that is not finished yet.

    A run that fails says why in `failed.json`, and the others go on; it is tried again
    when the grid is run again.

    Args:
        grid: what to run.
        folder: from `output_folder`.
        tell: called with a run and each epoch's row, and with None when it is skipped.
    """
    data = load(grid.dataset)
    shelves: dict[tuple[str, str], Shelf] = {}
    outcome = Outcome([], {})
    for run in grid.runs():
        place = folder / run.name
        place.mkdir(exist_ok=True)
        found = _finished(place, data)
        if found is not None:
            outcome.results.append(found)
            tell(run, None)
            continue
        failed = place / "failed.json"
        try:
            split = _stored_split(grid, run, data, folder)
            kind = run.backbone, run.long_range
            if kind not in shelves:
                shelves[kind] = _shelf(grid, run, data)
            result = _one(grid, run, shelves[kind], split, place, tell)
        except BenchError as error:
            _write(failed, json.dumps({"reason": str(error)}))
            outcome.failures[run.name] = str(error)
        else:
            failed.unlink(missing_ok=True)
            outcome.results.append(result)
    return outcome


def _finished(place: Path, data: DataSet) -> dict[str, Any] | None:
    """The result of a run that was finished before.

    Raises:
        BenchError: it belongs to other data.
    """
    done = place / "result.json"
    if not done.exists():
        return None
    found = json.loads(done.read_text())
    if found["data"] != data.digest:
        raise BenchError(
            f"{place.parent} was made from other data of the name {data.name!r}: "
            "choose another folder with --out."
        )
    return found


def _one(
    grid: Grid, run: Run, shelf: Shelf, split: Split, place: Path, tell
) -> dict[str, Any]:
    """Trains one run, tests the best weights, writes all of it."""
    samples = shelf.data.samples
    parts, excluded = _usable_parts(shelf.data, split)
    train_samples = [samples[i] for i in parts.train]
    references = fit_references(train_samples)
    charges = mean_charges(train_samples)
    neighbours = shelf.average_neighbours
    potential = build_potential(
        grid.model,
        run,
        references,
        average_neighbours=float(np.mean([neighbours[i] for i in parts.train])),
        scale=_scale(train_samples),
    )
    _write(place / "environment.json", json.dumps(environment(), indent=1))
    settings = grid.train if run.has_charges else grid.train.without_charges()
    report = lambda row: tell(run, row)
    best = train(potential, shelf, parts, settings, place, run.seed, report)
    members = {"validation": parts.validation, "test": parts.test}
    predictions, seconds = {}, 0.0
    for part, indices in members.items():
        began = time.perf_counter()
        predictions[part] = predict(best, shelf, indices)
        seconds = time.perf_counter() - began
    # Compiled by then, so this is the cost of the test part alone.
    atoms = sum(len(samples[i].structure) for i in parts.test)
    cost = {"microseconds_per_atom": 1e6 * seconds / atoms}
    _write(place / "cost.json", json.dumps(cost))
    path = place / "predictions.extxyz"
    write_predictions(path, shelf.data, members, predictions, references)
    chosen = {p: [samples[i] for i in m] for p, m in members.items()}
    result = {
        "run": dataclasses.asdict(run),
        "model": run.model,
        "data": shelf.data.digest,
        "split_digest": split.digest,
        "parameters": parameter_count(best),
        "sizes": {p: len(getattr(parts, p)) for p in parts._fields},
        "excluded": excluded,
        "errors": {
            p: errors_of(predictions[p], chosen[p], charges=run.has_charges).known()
            for p in chosen
        },
        "floors": {p: floor_of(chosen[p], references, charges).known() for p in chosen},
    }
    _write(place / "result.json", json.dumps(result, indent=1))
    return result


def _shelf(grid: Grid, run: Run, data: DataSet) -> Shelf:
    """Packed with the lattice sums of this kind of model; weights do not matter."""
    elements = {int(z): 0.0 for s in data.samples for z in s.structure.numbers}
    model = build_potential(
        grid.model, run, elements, average_neighbours=1.0, scale=1.0
    )
    return fill_shelf(data, grid, model.backbone)


def _stored_split(grid: Grid, run: Run, data: DataSet, folder: Path) -> Split:
    """The split of a run, made at its first start."""
    path = folder / run.name / "split.json"
    try:
        if not path.exists():
            vectors = stored_descriptors(data, folder)
            split_data(data, vectors, run.split, grid.split, run.seed).save(path)
        return Split.load(path)
    except ValueError as error:
        raise BenchError(str(error)) from error


def _usable_parts(data: DataSet, split: Split) -> tuple[Parts, dict[str, Any]]:
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
    return Parts(np.asarray(train_part), *kept), {
        "structures": dropped,
        "unseen": unseen,
    }


def _scale(samples: list[Sample]) -> float:
    """Root mean square force times 1 Å, eV; 1 where there are no forces."""
    forces = [s.forces.ravel() for s in samples if s.forces is not None]
    return float(np.mean(np.concatenate(forces) ** 2) ** 0.5) if forces else 1.0


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    names = ("jax", "jaxlib", "equinox", "e3nn-jax", "optax", "numpy", "scikit-learn")
    members = ("backbones", "bench", "chemsplit", "lr-celli", "lr-efa", "lr-les")
    versions = {n: metadata.version(n) for n in (*names, *members)}
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
    } | versions


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text)
    temporary.replace(path)
