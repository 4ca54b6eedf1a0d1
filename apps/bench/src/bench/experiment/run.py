"""One run of a grid: its split, training and test, in a folder of its own."""

import contextlib
import dataclasses
import json
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
from backbones import parameter_count, save
from chemsplit import Split

from bench.batches.loading import BatchedDataset, batch_dataset
from bench.dataset.opening import Dataset, Sample, load_for_training
from bench.dataset.per_element import atomic_energies_for, mean_charges
from bench.dataset.provenance import KEY, check_provenance, devices_of, provenance
from bench.evaluation.errors import errors_of, floor_of
from bench.evaluation.held_out import predict_held_out
from bench.evaluation.predictions import write_predictions
from bench.evaluation.run_files import read_failure_reason, read_result
from bench.exceptions import BenchError, one_line
from bench.execution.announcements import announce
from bench.execution.environment import environment
from bench.execution.hosts import is_main_process, wait_for_all
from bench.execution.memory import reset_peak_memory
from bench.experiment.requirements import (
    known_kinds,
    labelled_kinds,
    learnable,
    usable_parts,
)
from bench.experiment.splits import split_data, stored_descriptors
from bench.files import write_error, write_text
from bench.model.building import build_potential
from bench.settings.grid import Grid, Run
from bench.training.checkpoint import BEST, LAST, Checkpoints
from bench.training.loop import EpochCallback, train
from bench.training.steps import device_mesh

RESULT, SPLIT, FAILED = "result.json", "split.json", "failed.json"
"""Files of a run: what came of it, its split, or why nothing came of it."""


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
        announce(f"reading {grid.dataset}")
        self.data = load_for_training(grid.dataset)
        self._batched: dict[tuple[str, str], BatchedDataset] = {}

    def finished(self, run: Run) -> dict[str, Any] | None:
        """The result of a run that was finished before.

        Raises:
            BenchError: it belongs to other data, another split or other settings.
        """
        place = self.folder / run.name
        done = place / RESULT
        if not done.exists():
            return None
        found = read_result(place)
        there = found.get(KEY)
        # Made on other devices, it is a result all the same.
        devices = devices_of(there)
        here = provenance(self.grid, run, self.data, _split_of(place), devices)
        remedy = (
            "go back to what it was, choose another folder with --out, or delete "
            f"{place}"
        )
        check_provenance(str(done), there, here, remedy)
        return found

    def reason(self, run: Run) -> str | None:
        """Why a run failed when it was last attempted; None if it did not."""
        place = self.folder / run.name
        return read_failure_reason(place) if (place / FAILED).exists() else None

    def attempt(self, run: Run, callback: EpochCallback) -> dict[str, Any] | Failure:
        """Makes a run, or says in its `failed.json` why it could not be made.

        A failed run is tried again when the grid is run again.
        """
        place = self.folder / run.name
        place.mkdir(exist_ok=True)
        failed = place / FAILED
        lock = filelock.FileLock(place / ".lock", timeout=0)
        try:
            with lock if is_main_process() else contextlib.nullcontext():
                if is_main_process():
                    failed.unlink(missing_ok=True)
                result = self._made(run, place, callback)
        except filelock.Timeout:
            return Failure(f"another process is working in {place}")
        except Exception as error:
            known = isinstance(error, BenchError)
            reason = (
                str(error) if known else f"{type(error).__name__}: " + one_line(error)
            )
            # What a library said keeps its place, whatever message it became.
            plain = known and error.__cause__ is None
            story = {} if plain else {"traceback": traceback.format_exc()}
            if is_main_process():
                try:
                    write_text(failed, json.dumps({"reason": reason} | story, indent=1))
                except OSError as full:
                    raise write_error(place, full) from error
            return Failure(reason)
        return result

    def _made(self, run: Run, place: Path, callback: EpochCallback) -> dict[str, Any]:
        if is_main_process():
            announce(f"{run.name}: splitting, packing, compiling")
        split = self._split(run)
        # Before the split is applied to data that may be others.
        Checkpoints(place, _made_from(self.grid, run, self.data, split)).check()
        kind = run.backbone, run.long_range
        if kind not in self._batched:
            self._batched[kind] = _batched_dataset(self.grid, run, self.data)
        return _one(self.grid, run, self._batched[kind], split, place, callback)

    def _split(self, run: Run) -> Split:
        """The split of a run, made at its first start.

        One of an earlier start that came to no checkpoint is made again, for data or
        settings may have changed; one that somebody put there is used.
        """
        place = self.folder / run.name
        path = place / SPLIT
        try:
            if is_main_process() and not (path.exists() and self._is_kept(run, place)):
                # Descriptors take minutes: of several processes one makes them.
                with filelock.FileLock(self.folder / ".descriptors.lock"):
                    vectors = stored_descriptors(self.data, self.folder)
                settings = self.grid.split
                split_data(self.data, vectors, run.split, settings, run.seed).save(path)
            wait_for_all("the split")
            return Split.load(path)
        except ValueError as error:
            raise BenchError(str(error)) from error

    def _is_kept(self, run: Run, place: Path) -> bool:
        """Whether a split that is there stays: training began, or it is not ours."""
        split = Split.load(place / SPLIT)
        # Those of chemsplit's own commands have names and seeds as well.
        made_here = "test_fraction" in split.settings
        ours = made_here and split.name == run.split and split.seed == run.seed
        return is_begun(place) or not ours


def is_begun(place: Path) -> bool:
    """Whether a run has a result or a checkpoint.

    Args:
        place: folder of the run.
    """
    return any((place / name).exists() for name in (RESULT, LAST, BEST))


def _split_of(place: Path) -> Split:
    try:
        return Split.load(place / SPLIT)
    except FileNotFoundError as error:
        raise BenchError(
            f"{place / SPLIT} is missing, though the run is finished: restore it, or "
            f"delete {place} to make the run again."
        ) from error
    except ValueError as error:
        raise BenchError(str(error)) from error


def _one(
    grid: Grid,
    run: Run,
    batched: BatchedDataset,
    split: Split,
    place: Path,
    callback: EpochCallback,
) -> dict[str, Any]:
    """Trains one run, tests the best weights, writes all of it."""
    reset_peak_memory()
    samples = batched.data.samples
    made_from = _made_from(grid, run, batched.data, split)
    parts, excluded = usable_parts(batched.data, split, grid.split.unseen)
    train_samples = [samples[i] for i in parts.train]
    atomic_energies = atomic_energies_for(batched.data, parts.train)
    charges = mean_charges(train_samples)
    neighbours = batched.avg_num_neighbors
    potential = build_potential(
        grid.model,
        run,
        atomic_energies,
        avg_num_neighbors=float(np.mean([neighbours[i] for i in parts.train])),
        scale=_scale(train_samples),
    )
    write = write_text if is_main_process() else lambda *_: None
    write(place / "environment.json", json.dumps(environment(), indent=1))
    training = grid.training(run.backbone)
    settings = learnable(training, run, train_samples)
    kinds = known_kinds(run, settings, labelled_kinds(train_samples))
    best = train(
        potential,
        batched,
        parts,
        settings,
        place,
        run.seed,
        callback,
        made_from=made_from,
    )
    members = {"validation": parts.validation, "test": parts.test}
    turned = not run.has_charges
    held = predict_held_out(best, batched, members, kinds, turned=turned)
    predictions = held.predictions
    write(place / "cost.json", json.dumps(held.cost))
    chosen = {p: [samples[i] for i in m] for p, m in members.items()}
    path = place / "predictions.extxyz"
    if is_main_process():
        write_predictions(path, batched.data, members, predictions, atomic_energies)
    result = {
        "run": dataclasses.asdict(run),
        "model": run.model,
        "data": batched.data.digest,
        "split_digest": split.digest,
        "parameters": parameter_count(best),
        "sizes": {p: len(getattr(parts, p)) for p in parts._fields},
        "excluded": excluded,
        "errors": {
            p: errors_of(predictions[p], chosen[p], kinds).known() for p in chosen
        },
        "floors": {
            p: floor_of(chosen[p], atomic_energies, charges).known() for p in chosen
        },
        "charge_sign": held.charge_sign,
        "kinds": list(kinds),
        "settings": grid.model.model_dump(mode="json"),
        KEY: made_from,
    }
    if is_main_process():
        save(place / "model.npz", best)
    write(place / RESULT, json.dumps(result, indent=1))
    return result


def _made_from(grid: Grid, run: Run, data: Dataset, split: Split) -> dict[str, Any]:
    devices = device_mesh(grid.training(run.backbone)).size
    return provenance(grid, run, data, split, devices)


def _batched_dataset(grid: Grid, run: Run, data: Dataset) -> BatchedDataset:
    """Packed with the lattice sums of this kind of model; weights do not matter."""
    elements = {int(z): 0.0 for s in data.samples for z in s.structure.numbers}
    model = build_potential(grid.model, run, elements, avg_num_neighbors=1.0, scale=1.0)
    own = grid.model_copy(update={"train": grid.training(run.backbone)})
    return batch_dataset(data, own, model.backbone)


def _scale(samples: list[Sample]) -> float:
    """Root mean square force times 1 Å, eV; 1 where there are no forces."""
    forces = [s.forces.ravel() for s in samples if s.forces is not None]
    return float(np.mean(np.concatenate(forces) ** 2) ** 0.5) if forces else 1.0
