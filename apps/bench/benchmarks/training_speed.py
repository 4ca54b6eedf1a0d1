"""Training throughput on molecules: ours against mlip 0.2.5 and mace-torch 0.3.16.

The same structures with their energies and forces, the same architecture (MACE of 64
scalar channels, l_max 3, correlation 3, two interactions, 4 Å), batches of four,
float32, a squared loss of energies an atom and of force components. A repetition is one
pass over all structures: ours is the training loop of `bench run`, which builds every
batch and finds its order anew; the others get batches that were built before and only
step, as ours does once more, to tell what making batches costs. Every side runs in a
process and an environment of its own, is compiled and warmed up by two passes, then
does one pass a round in turns with the others; medians over the rounds.

    uv run python apps/bench/benchmarks/training_speed.py DATASET [--quick]

DATASET is a prepared folder or a file of molecules, such as `bench prepare
spice_dipeptides_les --forces-key force --out data/dipeptides`. `uv run` makes the
environments of the peers from the headers of their scripts, unless MLIP_PYTHON and
MACE_TORCH_PYTHON name a Python that has them.
"""

import argparse
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
from bench.dataset.per_element import composition_energy, fit_atomic_energies

HERE = Path(__file__).parent
# The peers' models and the way sides answer are those of the benchmark of single steps.
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


def write_structures(samples, folder):
    """The same structures for all: a file for ours, arrays for the others."""
    atomic_energies = fit_atomic_energies(samples)
    frames, energies = [], []
    for sample in samples:
        atoms = sample.to_ase()
        atoms.calc = SinglePointCalculator(
            atoms, energy=sample.energy, forces=sample.forces
        )
        frames.append(atoms)
        energies.append(sample.energy - composition_energy(sample, atomic_energies))
    ase.io.write(folder / "structures.extxyz", frames, format="extxyz")
    np.savez(
        folder / "structures.npz",
        sizes=[len(s.structure) for s in samples],
        numbers=np.concatenate([s.structure.numbers for s in samples]),
        positions=np.concatenate([s.structure.positions for s in samples]),
        forces=np.concatenate([s.forces for s in samples]),
        energies=energies,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--quick", action="store_true", help="8 structures, 2 rounds")
    asked = parser.parse_args()
    count, rounds = (8, 2) if asked.quick else (40, 5)
    samples = list(load_for_training(asked.dataset).samples[:count])
    if any(s.structure.cell is not None or s.forces is None for s in samples):
        raise SystemExit("Give molecules in open space with energies and forces.")
    atoms = sum(len(s.structure) for s in samples)
    sizes = np.array([len(s.structure) for s in samples])
    edges = find_edges(lambda i: samples[i].structure, sizes, CUTOFF)
    given = {"size": SIZE, "cutoff": CUTOFF, "batch": 4, "rate": 1e-4}
    given["elements"] = sorted({int(z) for s in samples for z in s.structure.numbers})
    given["avg_num_neighbors"] = float(edges.counts.edges.sum() / atoms)
    with tempfile.TemporaryDirectory() as place:
        write_structures(samples, Path(place))
        given["folder"] = place
        own = HERE / "training_sides"
        sides = {
            "bench": Side(own / "bench_training.py", given),
            "mlip": Side(own / "mlip_training.py", given, "mlip"),
            "mace-torch": Side(own / "mace_torch_training.py", given, "mace-torch"),
        }
    taken, alone = {name: [] for name in sides}, []
    for _ in range(rounds):
        for name in sides:
            time.sleep(0.2)  # threads of the side before go to sleep
            taken[name].append(sides[name].seconds("train"))
        alone.append(sides["bench"].seconds("step"))
    for side in sides.values():
        side.end()
    table(sides, taken, count, atoms)
    waited = 1 - statistics.median(alone) / statistics.median(taken["bench"])
    print(f"ours spends {100 * waited:.1f} % of a pass on making batches")


def table(sides, taken, count, atoms):
    """Medians of all sides, and their ratios to ours."""
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{count} molecules, {atoms} atoms, {count // 4} steps a pass")
    print("| | parameters | seconds a pass | atoms a second | times ours |")
    print("|---|---:|---:|---:|---:|")
    for name, seconds in medians.items():
        ratio = seconds / medians["bench"]
        parameters = sides[name].facts["parameters"]
        cells = f"{parameters} | {seconds:.2f} | {atoms / seconds:.0f} | {ratio:.1f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
