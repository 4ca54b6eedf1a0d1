"""Validation errors against training time: bench, mace-torch 0.3.16 and mlip 0.2.5.

All train the same architecture (MACE of 64 scalar channels, l_max 3, correlation 3, two
interactions, 8 Bessel functions, radial networks of three layers of 64, readout of 16,
float32) on the same structures, with the same validation set and the same atomic
energies, each on one core. Each recipe is fitted to a budget of `--minutes`: a separate
process measures the time of compilation and per step, which determine the number of
epochs, so that schedules end with the budget.

- bench: a grid run of `bench run` with its defaults; `-o` changes those of `train`, as
  in `-o train.batch_size=2`. `bench+les` adds a long-range layer.
- mace-torch: `mace_run_train` with the flags of its README (batches of ten, AMSGrad,
  EMA of 0.99, stage two) and its defaults for all others: rate 0.01, weight decay
  5e-7, ReduceLROnPlateau, weights 1 and 100 (1000 and 100 in stage two, which starts at
  75 % of the epochs), gradients clipped at 10, energies scaled by the rms of forces.
- mlip: `TrainingLoop` as in its tutorial (batches of 16, `get_default_mlip_optimizer()`
  with a constant rate of 0.01, `MSELoss`, EMA of 0.99), with the weight flip of its
  user guide: energies 1 and forces 25, then 25 and 1, here from 75 % of the epochs,
  since the guide gives no total number.

Time is processor time of all threads of the training process from the first step. It
includes the compilation of the step (no compilation cache), building of batches and
checkpoints; it excludes imports, reading of data and neighbor lists before training,
and all evaluations on the validation set, both those of this benchmark and those of
the training loops after each epoch. Of the errors, those at intervals of `--interval`
minutes are of the averaged weights at that time; those on the test set are of the model
that each package returns, which has the smallest validation loss (in mace-torch: of
stage two).

    uv run python apps/bench/benchmarks/time_to_accuracy.py frameworks --out FOLDER
    uv run python apps/bench/benchmarks/time_to_accuracy.py DIPEPTIDES --out FOLDER
        --cutoff 4 --train 200 --validation 50 --test-ids '*_val/*'
    uv run python apps/bench/benchmarks/time_to_accuracy.py --plot FOLDER

A side is a name with an optional budget, such as `bench@10` for ten minutes. Without
`--train` the split is the random split of bench with seed 0; with it, this many
training structures are drawn once from those that `--test-ids` does not match, and
others for validation. DIPEPTIDES is made by `bench prepare spice_dipeptides_les -o
keys.forces=force --out DIPEPTIDES`. The results of a side are written to FOLDER after
each evaluation; finished sides are not trained again. The environments of mlip and
mace-torch are those of `training_speed.py`.
"""

import argparse
import concurrent.futures
import fnmatch
import json
import os
import queue
import sys
from pathlib import Path

import numpy as np
from accuracy_curves import (
    file_of,
    finished_result,
    plot,
    print_tables,
    read_results,
)
from bench.batches.neighbors import find_edges
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import atomic_energies_for, elements_of
from bench.experiment.runner import SPLIT
from bench.experiment.splits import make_split
from bench.experiment.trainable import usable_indices
from bench.settings.grid import Grid
from bench.settings.schema import override, validate
from chemsplit import Split
from training_speed import SIZE, Side, write_arrays

SCRIPTS = Path(__file__).parent / "training_sides"

RECIPES = {
    "mace-torch": {
        "flags": {
            "model": "MACE",
            "batch_size": 10,
            "ema_decay": 0.99,
            "default_dtype": "float32",
        },
        "switches": ["ema", "amsgrad", "stage_two"],
        "stage_two": 0.75,
    },
    "mlip": {
        "batch_size": 16,
        "energy_weights": [1.0, 25.0],
        "force_weights": [25.0, 1.0],
        "flip": 0.75,
    },
}
"""What differs from the defaults of the peers' training."""

IDS = "ids.json"
"""File of the ids of each set, in the order of its arrays."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NPROC": "1",
}
"""Environment that limits the threads of the sides; XLA reads `NPROC`."""


def draw_split(data, train, validation, test_ids):
    """Returns a split with drawn training and validation sets and named test ids."""
    is_test = np.array([fnmatch.fnmatchcase(i, test_ids) for i in data.ids])
    groups = np.asarray(data.groups)
    others = np.unique(groups[~is_test])
    if set(groups[is_test]) & set(others) or len(others) < len(groups[~is_test]):
        raise SystemExit("--train needs structures that are groups of their own.")
    if not is_test.any() or train + validation > len(others):
        raise SystemExit(
            f"{data.name} has {is_test.sum()} structures that match --test-ids and "
            f"{len(others)} others: reduce --train or --validation, or change "
            "--test-ids."
        )
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(~is_test))
    ids = lambda indices: [data.ids[i] for i in indices]
    return Split(
        ids(drawn[:train]),
        ids(drawn[train : train + validation]),
        ids(np.flatnonzero(is_test)),
        name="random",
        unused=ids(drawn[train + validation :]),
    )


def write_data(data, options):
    """Writes split and arrays; returns what all sides are given."""
    folder = options.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if options.train:
        counts = options.train, options.validation
        split = draw_split(data, *counts, options.test_ids)
    else:
        split = make_split(data, "random", seed=0)
    split.save(folder / SPLIT)
    indices, _ = usable_indices(data, split, "exclude")
    atomic_energies = atomic_energies_for(data, indices.train)
    parts = indices._asdict()
    for part, members in parts.items():
        samples = [data.samples[i] for i in members]
        write_arrays(samples, atomic_energies, folder / f"{part}.npz")
    counts = find_edges(data, options.cutoff).counts.edges[indices.train]
    neighbors = counts.sum() / data.sizes[indices.train].sum()
    ids = {part: [data.ids[i] for i in members] for part, members in parts.items()}
    (folder / IDS).write_text(json.dumps(ids))
    return {
        "folder": str(folder.resolve()),
        "elements": elements_of(data, indices.train),
        "avg_num_neighbors": float(neighbors),
        "size": SIZE,
        "cutoff": options.cutoff,
        "interval": options.interval,
        "seed": options.seed,
        "split": split.digest,
    }


def grid_values(options, name):
    """Returns the settings of a grid with one run of bench."""
    fixed = ("num_bessel", "envelope_exponent", "readout_width")
    size = {k: v for k, v in SIZE.items() if k not in fixed}
    _, _, layers = name.partition("+")
    source = options.dataset
    values = {
        "dataset": str(Path(source).resolve()) if Path(source).exists() else source,
        "splits": ["random"],
        "long_range": [layers or "none"],
        "seeds": [options.seed],
        "model": {"cutoff": options.cutoff, "mace": size},
        "train": {"devices": 1},
    }
    override(values, options.override)
    return values


def settings_of(side, data, given, options):
    """Returns what a side is given, with the settings that its results depend on."""
    name, _, minutes = side.partition("@")
    shared = ("split", "size", "cutoff", "interval", "seed")
    settings = {"data": data.digest, **{k: given[k] for k in shared}}
    settings["minutes"] = float(minutes or options.minutes)
    if name in RECIPES:
        settings["recipe"] = RECIPES[name]
        return given | {"side": side, "settings": settings} | settings
    values = grid_values(options, name)
    grid = validate(Grid, values, "the settings of bench")
    recipe = grid.train.model_dump(mode="json", exclude={"epochs"})
    settings["recipe"] = {"train": recipe, "model": grid.model.model_dump(mode="json")}
    settings["recipe"]["long_range"] = list(grid.long_range)
    return given | {"side": side, "settings": settings, "grid": values} | settings


def run_process(given):
    """Runs the process of a side to its end and returns what it reports."""
    name = given["side"].partition("@")[0]
    package = name if name in RECIPES else None
    script = f"{(package or 'bench').replace('-', '_')}_accuracy.py"
    side = Side(SCRIPTS / script, given, package)
    side.end()
    return side.properties


def train_side(given, out, cores):
    """Fits the recipe of a side to its budget and trains it on a free core."""
    core = cores.get()
    # Of this thread only, and inherited by the processes that it starts.
    os.sched_setaffinity(0, {core})
    try:
        name = given["side"]
        fit = run_process(given | {"epochs": None})
        steps = (60 * given["minutes"] - fit["first_s"]) / fit["step_s"]
        epochs = max(1, round(steps / fit["steps_per_epoch"]))
        print(f"{name}: {epochs} epochs, {json.dumps(fit)}", flush=True)
        file = str(file_of(out, name).resolve())
        run_process(given | {"epochs": epochs, "fit": fit, "file": file})
        print(f"{name}: finished", flush=True)
    finally:
        cores.put(core)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--sides", nargs="+", default=["mace-torch", "mlip", "bench"])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--interval", type=float, default=2, help="minutes")
    parser.add_argument("--cutoff", type=float, default=4.5, help="Å")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--cores", type=int, nargs="+", default=[0])
    parser.add_argument("--train", type=int, help="number of training structures")
    parser.add_argument("--validation", type=int, default=50)
    parser.add_argument("--test-ids", default="*_val/*")
    parser.add_argument("-o", "--override", action="append", default=[])
    parser.add_argument("--plot", type=Path, help="only table and figure of a folder")
    options = parser.parse_args()
    if options.plot is None and not (options.dataset and options.out):
        parser.error("give a dataset and --out FOLDER, or --plot FOLDER")
    for side in options.sides:
        name = side.partition("@")[0]
        if name not in RECIPES and name.partition("+")[0] != "bench":
            sys.exit(
                f"Unknown side {side!r}: choose mace-torch, mlip, bench, bench+les."
            )
    for change in options.override:
        if not change.startswith("train.") or change.startswith("train.epochs"):
            sys.exit(f"-o {change}: give settings of `train` other than the epochs.")
    return options


def main():
    options = parse_options()
    folder = options.plot or options.out
    if options.plot is None:
        data = load_for_training(options.dataset)
        given = write_data(data, options)
        sides = [settings_of(s, data, given, options) for s in options.sides]
        missing = [
            s
            for s in sides
            if finished_result(folder, s["side"], s["settings"]) is None
        ]
        os.environ.update(ONE_THREAD)
        cores = queue.SimpleQueue()
        for core in options.cores:
            cores.put(core)
        with concurrent.futures.ThreadPoolExecutor(len(options.cores)) as pool:
            list(pool.map(lambda s: train_side(s, folder, cores), missing))
    results = read_results(folder)
    print_tables(results)
    plot(results, folder / "curves.png")


if __name__ == "__main__":
    main()
