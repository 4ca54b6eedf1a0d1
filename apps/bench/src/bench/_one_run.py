"""One run of a grid: its split, training and test, in a folder of its own."""

import dataclasses
import json
import platform
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
from ase.data import chemical_symbols
from backbones import parameter_count, save
from chemsplit import Split

from ._config import Grid, Run
from ._dataset import DataSet, Sample, load
from ._errors import BenchError, in_short
from ._evaluation import errors_of, floor_of, predict, write_predictions
from ._loading import Shelf, fill_shelf
from ._model import build_potential
from ._references import mean_charges, references_for
from ._splits import split_data, stored_descriptors
from ._training import Parts, train
from ._writing import write_text

Report = Callable[[dict[str, Any]], None]
"""Called with each epoch's row."""


class Failure(NamedTuple):
    """Why a run has no result."""

    reason: str


class Workplace:
    """What the runs of a grid share in one process: data and packed batches."""

    def __init__(self, grid: Grid, folder: Path):
        """Loads the data.

        Args:
            grid: whose runs are made.
            folder: of the grid.

        Raises:
            BenchError: the data cannot be used.
        """
        self.grid = grid
        self.folder = folder
        self.data = load(grid.dataset)
        self._shelves: dict[tuple[str, str], Shelf] = {}

    def finished(self, run: Run) -> dict[str, Any] | None:
        """The result of a run that was finished before.

        Raises:
            BenchError: it belongs to other data.
        """
        done = self.folder / run.name / "result.json"
        if not done.exists():
            return None
        found = json.loads(done.read_text())
        if found["data"] != self.data.digest:
            raise BenchError(
                f"{self.folder} was made from other data of the name "
                f"{self.data.name!r}: choose another folder with --out."
            )
        return found

    def reason(self, run: Run) -> str | None:
        """Why a run failed when it was last attempted; None if it did not."""
        failed = self.folder / run.name / "failed.json"
        return json.loads(failed.read_text())["reason"] if failed.exists() else None

    def attempt(self, run: Run, report: Report) -> dict[str, Any] | Failure:
        """Makes a run, or says in its `failed.json` why it could not be made.

        A failed run is tried again when the grid is run again.
        """
        place = self.folder / run.name
        place.mkdir(exist_ok=True)
        failed = place / "failed.json"
        try:
            with filelock.FileLock(place / ".lock", timeout=0):
                failed.unlink(missing_ok=True)
                result = self._made(run, place, report)
        except filelock.Timeout:
            return Failure(f"another process is working in {place}")
        except Exception as error:
            known = isinstance(error, BenchError)
            reason = (
                str(error) if known else f"{type(error).__name__}: " + in_short(error)
            )
            story = {} if known else {"traceback": traceback.format_exc()}
            write_text(failed, json.dumps({"reason": reason} | story, indent=1))
            return Failure(reason)
        return result

    def _made(self, run: Run, place: Path, report: Report) -> dict[str, Any]:
        split = self._split(run)
        kind = run.backbone, run.long_range
        if kind not in self._shelves:
            self._shelves[kind] = _shelf(self.grid, run, self.data)
        return _one(self.grid, run, self._shelves[kind], split, place, report)

    def _split(self, run: Run) -> Split:
        """The split of a run, made at its first start."""
        path = self.folder / run.name / "split.json"
        try:
            if not path.exists():
                # Descriptors take minutes: of several processes one makes them.
                with filelock.FileLock(self.folder / ".descriptors.lock"):
                    vectors = stored_descriptors(self.data, self.folder)
                settings = self.grid.split
                split_data(self.data, vectors, run.split, settings, run.seed).save(path)
            return Split.load(path)
        except ValueError as error:
            raise BenchError(str(error)) from error


def _one(
    grid: Grid, run: Run, shelf: Shelf, split: Split, place: Path, report: Report
) -> dict[str, Any]:
    """Trains one run, tests the best weights, writes all of it."""
    samples = shelf.data.samples
    parts, excluded = _usable_parts(shelf.data, split, grid.split.unseen)
    train_samples = [samples[i] for i in parts.train]
    references = references_for(shelf.data, parts.train)
    charges = mean_charges(train_samples)
    neighbours = shelf.average_neighbours
    potential = build_potential(
        grid.model,
        run,
        references,
        average_neighbours=float(np.mean([neighbours[i] for i in parts.train])),
        scale=_scale(train_samples),
    )
    write_text(place / "environment.json", json.dumps(environment(), indent=1))
    training = grid.training(run.backbone)
    settings = training if run.has_charges else training.without_charges()
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
    write_text(place / "cost.json", json.dumps(cost))
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
        "settings": grid.model.model_dump(mode="json"),
    }
    save(place / "model.npz", best)
    write_text(place / "result.json", json.dumps(result, indent=1))
    return result


def _shelf(grid: Grid, run: Run, data: DataSet) -> Shelf:
    """Packed with the lattice sums of this kind of model; weights do not matter."""
    elements = {int(z): 0.0 for s in data.samples for z in s.structure.numbers}
    model = build_potential(
        grid.model, run, elements, average_neighbours=1.0, scale=1.0
    )
    own = grid.model_copy(update={"train": grid.training(run.backbone)})
    return fill_shelf(data, own, model.backbone)


def _usable_parts(
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
