"""Time and memory from the start of a process to the end of its first training step.

Random molecules of 8 to 20 atoms (small cells with `--cells`) with energies and forces
are prepared once per folder. Each measurement is a process that runs a grid with a
random split and a small MACE and is stopped after the first step of its first run:

1. first use of the set: edges are counted, and kept beside it where the bench does so;
2. with an empty compilation cache;
3. with the compilation cache of the second, `--repeats` times.

`--folder` keeps the prepared set for later calls; `--seconds` limits each process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ENERGIES = {1: -13.6, 6: -1030.0, 7: -1485.0, 8: -2040.0}
"""eV by atomic number, to which the energies of the structures are close."""

SPACING = 1.5
"""Å between the sites on which atoms are placed; they are displaced by up to 0.2 Å."""


def write_structures(path, count, cells):
    """Writes random structures as the arrays of an npz file."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(8, 21, count)
    total = int(sizes.sum())
    sites = SPACING * np.array(list(np.ndindex(3, 3, 3)))
    ranks = np.argsort(rng.uniform(size=(count, len(sites))), axis=1)
    positions = sites[ranks[np.arange(len(sites)) < sizes[:, None]]]
    numbers = rng.choice(list(ENERGIES), total)
    table = np.zeros(9)
    table[list(ENERGIES)] = list(ENERGIES.values())
    starts = np.cumsum(sizes) - sizes
    arrays = {
        "n_atoms": sizes,
        "numbers": numbers.astype("u1"),
        "positions": positions + rng.uniform(-0.2, 0.2, (total, 3)),
        "energy": np.add.reduceat(table[numbers], starts) + rng.normal(size=count),
        "forces": rng.normal(size=(total, 3)).astype("f4"),
    }
    if cells:
        arrays["cell"] = np.tile(3 * SPACING * np.eye(3), (count, 1, 1))
    np.savez(path, **arrays)


def prepare_structures(folder, count, cells):
    """Returns the folder of a prepared set, which is made if it does not exist."""
    from bench.dataset.preparing import prepare
    from bench.settings.preparation import PreparationSettings

    out = folder / f"{'cells' if cells else 'molecules'}-{count}"
    if not (out / "dataset.json").exists():
        source = folder / f"{out.name}.npz"
        write_structures(source, count, cells)
        prepare(PreparationSettings(source=str(source)), out, workers=2)
        source.unlink()
    return out


class FirstStepDone(BaseException):
    """Raised after the first step; no handler of the bench catches it."""


def run_first_step(dataset, layer):
    """Runs a grid up to its first step and prints its time and memory as JSON."""
    start = float(os.environ["FIRST_STEP_START"])
    import jax
    from bench.experiment.grid import run_grid
    from bench.settings.grid import Grid
    from bench.training import loop

    stages = {"imports": time.time() - start}
    train_step = loop.train_step

    def first_step(*args):
        stages["before the step"] = time.time() - start
        jax.block_until_ready(train_step(*args))
        stages["first step"] = time.time() - start
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
        usage = os.times()
        print(
            json.dumps(
                stages
                | {
                    "peak_mib": int(peak) / 1024,
                    "processor_s": usage.user + usage.system,
                }
            ),
            flush=True,
        )
        raise FirstStepDone

    loop.train_step = first_step
    grid = Grid(
        dataset=dataset,
        splits=("random",),
        long_range=(layer,),
        model={"mace": {"channels": 16, "l_max": 2}},
        train={"epochs": 1, "batch_size": 16},
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = run_grid(grid, folder, warn=lambda line: None)
        except FirstStepDone:
            return
        sys.exit(f"no step was made: {outcome.failures}")


def measure(dataset, layer, cache, seconds):
    """Returns the figures of one process, and the peak memory of its children."""
    from resource import RUSAGE_CHILDREN, getrusage

    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "FIRST_STEP_START": str(time.time()),
    }
    command = [sys.executable, __file__, "--dataset", str(dataset), "--layer", layer]
    before = getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds
    )
    after = getrusage(RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr[-2000:] + done.stdout[-500:])
    figures = json.loads(done.stdout.splitlines()[-1])
    processor = lambda usage: usage.ru_utime + usage.ru_stime
    return figures | {"processor_with_children_s": processor(after) - processor(before)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=300_000)
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("--layer", default="none", help="long-range layer")
    parser.add_argument("--folder", type=Path, help="of prepared sets; kept")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dataset:
        run_first_step(options.dataset, options.layer)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        dataset = prepare_structures(folder, options.structures, options.cells)
        caches = [Path(temporary) / "first", *[Path(temporary) / "cache"] * 99]
        names = ["first use", "without compilation cache"]
        names += ["with compilation cache"] * options.repeats
        for counts in dataset.glob("edges-*"):
            counts.unlink()
        for name, cache in zip(names, caches, strict=False):
            figures = measure(dataset, options.layer, cache, options.seconds)
            shown = ", ".join(f"{k} {v:.1f}" for k, v in figures.items())
            print(f"{options.structures} structures, {name}: {shown}", flush=True)


if __name__ == "__main__":
    main()
