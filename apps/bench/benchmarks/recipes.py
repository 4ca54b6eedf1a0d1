"""Validation errors of training recipes, over several seeds.

A recipe is a change of the settings of a grid, several joined by a space; the first one
of the table is the grid itself. All train the first model of the grid on the same split
(that of seed 0); a seed determines the initial weights and the order of the structures.
The errors are those of the returned weights on the validation set, and the test set is
not used. Seconds are processor time of the training with its validations, and include
compilation, which a recipe with the same batches as an earlier one does not need.

    uv run python apps/bench/benchmarks/recipes.py quick \
        'train.optimizer=nadam train.learning_rate=0.02' \
        'train.batch_size=4 train.num_buckets=1' --seeds 0 1 2

Each line is printed when its training has ended. One core: `taskset -c 0`.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import atomic_energies_for
from bench.experiment.splits import make_split
from bench.experiment.train_and_test import batch_for_model, initial_potential
from bench.experiment.trainable import (
    labeled_kinds,
    trainable_settings,
    usable_indices,
)
from bench.settings.grid import load_grid
from bench.training.loop import train, validate


def errors_after(grid, run, data, split):
    """Trains a run; returns validation errors (meV/atom, meV/Å) and seconds."""
    indices, _ = usable_indices(data, split, grid.split.new_elements)
    atomic_energies = atomic_energies_for(data, indices.train)
    batched = batch_for_model(grid, run, data)
    potential = initial_potential(grid, run, batched, indices, atomic_energies)
    labeled = labeled_kinds(data, indices.train)
    given = grid.training(run.backbone)
    settings = trainable_settings(given, run, labeled, len(indices.train))
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        best = train(
            potential,
            batched,
            indices,
            settings,
            Path(folder),
            run.seed,
            lambda row: None,
        )
    seconds = time.process_time() - start
    batched = batched.with_atomic_energies(atomic_energies)
    errors = validate(best, batched, indices.validation, ("energy", "force"))
    values = errors.as_dict()
    return values["energy_mae"], values["force_mae"], seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid")
    parser.add_argument("recipes", nargs="*", help="changes of the grid")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print("| recipe | seed | energy (meV/atom) | forces (meV/Å) | seconds |")
    print("|---|---:|---:|---:|---:|")
    data = split = None
    for recipe in ["", *options.recipes]:
        grid = load_grid(options.grid, recipe.split())
        first = grid.runs()[0]
        if data is None:
            data = load_for_training(grid.dataset)
            split = make_split(data, first.split, seed=0, settings=grid.split)
        results = []
        for seed in options.seeds:
            run = dataclasses.replace(first, seed=seed)
            results.append(errors_after(grid, run, data, split))
            print_row(recipe or options.grid, seed, results[-1])
        if len(results) > 1:
            print_row(recipe or options.grid, "mean", np.mean(results, axis=0))


def print_row(recipe, seed, result):
    """Prints a row of the table."""
    cells = " | ".join(f"{value:.1f}" for value in result)
    print(f"| {recipe} | {seed} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
