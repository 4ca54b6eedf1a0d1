"""Training throughput on molecules: bench, mlip 0.2.5 and mace-torch 0.3.16.

All use the same structures with energies and forces, the same architecture (MACE of 64
scalar channels, l_max 3, correlation 3, two interactions, 4 Å), batches of four,
float32, and a squared loss of energies per atom and of force components. A repetition
is one pass over all structures. The pass of bench is the training loop of `bench run`,
which shuffles the structures and builds the batches; the others use batches that were
built before. A second pass of bench with such batches measures the cost of building
them. Each side runs in a separate process and environment, is compiled and warmed up by
two passes, and then runs one pass per round, alternating with the others; medians over
the rounds are reported.

    uv run python apps/bench/benchmarks/training_speed.py DATASET [--quick]

DATASET is a prepared folder or a file of molecules, such as from `bench prepare
spice_dipeptides_les -o keys.forces=force --out data/dipeptides`. `uv run` creates the
environments of mlip and mace-torch from the headers of their scripts, unless
MLIP_PYTHON and MACE_TORCH_PYTHON are the paths of Python interpreters that have them.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from bench.batches.neighbors import find_edges
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import (
    composition_energy,
    elements_of,
    fit_atomic_energies,
)

HERE = Path(__file__).parent
# The other models and the communication with them are those of the benchmark of single
# steps.
sys.path.append(str(HERE.parents[2] / "packages" / "backbones" / "benchmarks"))
from sides import Side  # noqa: E402

SIZE = {
    "channels": 64,
    "hidden_degree": 0,
    "l_max": 3,
    "correlation": 3,
    "num_interactions": 2,
    "num_bessel": 8,
    "radial_mlp": [64, 64, 64],
    "readout_width": 16,
    "envelope_exponent": 6,
}
CUTOFF = 4.0


def write_arrays(samples, atomic_energies, path):
    """Writes structures and labels as arrays, which need no package but NumPy.

    Energies are those relative to the atomic energies; cells of molecules are zero.
    """
    structures = [sample.structure for sample in samples]
    relative = [s.energy - composition_energy(s, atomic_energies) for s in samples]
    np.savez(
        path,
        sizes=[len(s) for s in structures],
        numbers=np.concatenate([s.numbers for s in structures]),
        positions=np.concatenate([s.positions for s in structures]),
        cells=[np.zeros((3, 3)) if s.cell is None else s.cell for s in structures],
        forces=np.concatenate([s.forces for s in samples]),
        energies=relative,
    )


def write_structures(data, folder):
    """Writes the structures: a file for bench, arrays for the others."""
    atomic_energies = fit_atomic_energies(data)
    samples = list(data.samples)
    frames = []
    for sample in samples:
        atoms = sample.to_ase()
        atoms.calc = SinglePointCalculator(
            atoms, energy=sample.energy, forces=sample.forces
        )
        frames.append(atoms)
    ase.io.write(folder / "structures.extxyz", frames, format="extxyz")
    write_arrays(samples, atomic_energies, folder / "structures.npz")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--quick", action="store_true", help="8 structures, 2 rounds")
    options = parser.parse_args()
    count, rounds = (8, 2) if options.quick else (40, 5)
    data = load_for_training(options.dataset)
    data = dataclasses.replace(data, order=data.order[:count])
    periodic = np.asarray(data.columns.arrays["periodic"])
    if periodic.any() or not data.has("forces").all():
        raise SystemExit(
            "DATASET must contain molecules (open boundaries) with energies and forces."
        )
    atoms = int(data.sizes.sum())
    edges = find_edges(data, CUTOFF)
    given = {"size": SIZE, "cutoff": CUTOFF, "batch": 4, "rate": 1e-4}
    given["elements"] = elements_of(data)
    given["avg_num_neighbors"] = float(edges.counts.edges.sum() / atoms)
    with tempfile.TemporaryDirectory() as folder:
        write_structures(data, Path(folder))
        given["folder"] = folder
        scripts = HERE / "training_sides"
        sides = {
            "bench": Side(scripts / "bench_training.py", given),
            "mlip": Side(scripts / "mlip_training.py", given, "mlip"),
            "mace-torch": Side(scripts / "mace_torch_training.py", given, "mace-torch"),
        }
    times, step_times = {name: [] for name in sides}, []
    for _ in range(rounds):
        for name in sides:
            time.sleep(0.2)  # lets the threads of the previous side become idle
            times[name].append(sides[name].seconds("train"))
        step_times.append(sides["bench"].seconds("step"))
    for side in sides.values():
        side.end()
    print_table(sides, times, count, atoms)
    fraction = 1 - statistics.median(step_times) / statistics.median(times["bench"])
    print(f"bench spends {100 * fraction:.1f} % of a pass on building batches")


def print_table(sides, times, count, atoms):
    """Prints the medians of all sides, and their ratios to that of bench."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{count} molecules, {atoms} atoms, {count // 4} steps per pass")
    print("| | parameters | seconds per pass | atoms per second | ratio to bench |")
    print("|---|---:|---:|---:|---:|")
    for name, seconds in medians.items():
        ratio = seconds / medians["bench"]
        parameters = sides[name].properties["parameters"]
        cells = f"{parameters} | {seconds:.2f} | {atoms / seconds:.0f} | {ratio:.1f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
