"""Process of `time_to_accuracy.py` that runs a grid of `bench`."""

import dataclasses
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
from backbones import parameter_count
from bench import load_potential
from bench.dataset.per_element import composition_energy
from bench.evaluation.predicting import batch_for_prediction, predict_samples
from bench.execution.hosts import local_copy
from bench.experiment.runner import SPLIT, Failure, GridRunner
from bench.settings.grid import Grid
from bench.training import loop
from chemsplit import Split
from recording import Recorder
from serving import settings


class Predictor:
    """Predicts energies and forces of one part of a split.

    Args:
        data: all structures.
        ids: of the part, in the order of its arrays.
    """

    def __init__(self, data, ids):
        rows = {name: i for i, name in enumerate(data.ids)}
        order = data.order[[rows[i] for i in ids]]
        self.data, self.batched = dataclasses.replace(data, order=order), None

    def __call__(self, potential):
        """Returns relative energies, eV, and forces of all atoms, eV/Å."""
        if self.batched is None:
            self.batched = batch_for_prediction(potential, self.data)
        members, samples = np.arange(len(self.data)), self.data.samples
        predictions = predict_samples(potential, self.batched, members)
        energies = dict(potential.atomic_energies)
        relative = [
            p.energy - composition_energy(s, energies)
            for p, s in zip(predictions, samples, strict=True)
        ]
        return relative, np.concatenate([p.forces for p in predictions])


def record_steps(recorder, predict):
    """Makes the training loop report its steps; returns what holds the last state."""
    train_step, count_steps = loop.train_step, loop.count_steps
    latest = {}

    def recorded_step(*args):
        take = lambda: jax.block_until_ready(train_step(*args))
        latest["state"], loss = recorder.step(take, lambda r: predict(r[0].average))
        return latest["state"], loss

    def counted_steps(*args):
        recorder.steps_per_epoch = count_steps(*args)
        return recorder.steps_per_epoch

    loop.train_step, loop.count_steps = recorded_step, counted_steps
    loop.validate = recorder.untimed(loop.validate)
    return latest


def main():
    given = settings()
    recorder = Recorder(given)

    def train(epochs):
        first = Grid(**given["grid"])
        before = sum(phase.epochs for phase in first.train.pretrain)
        values = {**given["grid"]["train"], "epochs": max(1, epochs - before)}
        grid = Grid(**given["grid"] | {"train": values})
        run = grid.runs()[0]
        with tempfile.TemporaryDirectory() as folder:
            runner = GridRunner(grid, Path(folder))
            (Path(folder) / run.name).mkdir()
            split = Split.load(Path(given["folder"]) / SPLIT)
            split.save(Path(folder) / run.name / SPLIT)
            ids = json.loads((Path(given["folder"]) / "ids.json").read_text())
            predictors = {k: Predictor(runner.data, v) for k, v in ids.items()}
            validate = lambda p: predictors["validation"](local_copy(p))
            latest = record_steps(recorder, validate)
            result = runner.run_one(run, lambda row: None)
            if isinstance(result, Failure):
                raise SystemExit(result.reason)
            trained = load_potential(Path(folder) / run.name)
        recorder.properties["parameters"] = parameter_count(trained)
        predict = lambda: validate(latest["state"].average)
        return predict, lambda: predictors["test"](trained)

    recorder.run(train)


if __name__ == "__main__":
    main()
