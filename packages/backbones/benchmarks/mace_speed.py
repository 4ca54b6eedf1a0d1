"""Speed of MACE on a CPU in backbones, mlip 0.2.5 and mace-torch 0.3.16, float32.

All evaluate one periodic structure of 256 atoms and 8.7k edges, with 64 channels, l_max
3, correlation 3, two interactions, radial network 64-64-64, and hidden features 0e + 1o
or 0e. "evaluate" is energy and forces (with the stress in backbones), "train" is the
gradient of an energy and force loss and an Adam update. Each package runs in a process
with its own environment, is compiled and warmed up, then runs one repetition per round
in alternation with the others; the medians over the rounds are reported. Before that,
backbones with the weights of mace-torch is compared with mace-torch in float64, and the
numbers of edges and parameters are printed: the product bases of mace-torch (by
default) and mlip are of other sizes. Compilation is timed without the persistent cache.

    uv run python packages/backbones/benchmarks/mace_speed.py [--quick]

`uv run` makes the environments of the other packages from the headers of their scripts,
unless MLIP_PYTHON and MACE_TORCH_PYTHON are paths of a Python that has them.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import backbones as bb
import equinox as eqx
import jax
import numpy as np
from sides import Side

ELEMENTS = (1, 6, 8, 30)
CUTOFF = 4.5
HERE = Path(__file__).parent
TASKS = {"evaluate": "energy + forces", "train": "training step"}


def crystal(shape):
    """Returns a distorted lattice, with about 34 neighbors per atom within 4.5 Å."""
    rng = np.random.default_rng(0)
    axes = [np.arange(n) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    positions = 2.11 * (grid + 0.2 * rng.uniform(size=grid.shape))
    numbers = rng.choice(ELEMENTS, len(grid))
    return bb.Structure(numbers, positions, 2.11 * np.diag(np.asarray(shape, float)))


def parity(structure, path):
    """Returns the differences of energy (eV) and forces (eV/Å) with the same weights.

    The third value is the largest force.
    """
    with np.load(path) as file:
        results = dict(file)
    state = {k[3:]: v for k, v in results.items() if k.startswith("sd/")}
    with jax.enable_x64(True):
        settings = json.loads(str(results["settings"]))
        potential = bb.from_mace_torch(state, settings)
        (bucket,) = bb.pack([structure], cutoff=CUTOFF, graphs=1, dtype=np.float64)
        out = eqx.filter_jit(potential)(bucket.batch([0]))
        energy = abs(float(out.energy[0] - results["energy"][0]))
        largest = lambda x: float(np.abs(x).max())
        forces = results["forces"]
        return energy, largest(out.forces[0] - forces), largest(forces)


def compare(structure, degree, rounds):
    """Times all sides with hidden features up to one degree."""
    pairs = len(bb.neighbors(structure.positions, structure.cell, CUTOFF))
    size = {"channels": 64, "hidden_degree": degree, "l_max": 3, "correlation": 3}
    size |= {
        "num_interactions": 2,
        "num_bessel": 8,
        "radial_mlp": [64, 64, 64],
        "readout_width": 16,
    }
    config = {
        "size": size | {"envelope_exponent": 6},
        "elements": ELEMENTS,
        "cutoff": CUTOFF,
    }
    config |= {"avg_num_neighbors": pairs / len(structure), "rate": 1e-4}
    with tempfile.TemporaryDirectory() as folder:
        config["structure"] = str(Path(folder) / "structure.npz")
        config["parity"] = str(Path(folder) / "parity.npz")
        arrays = {k: getattr(structure, k) for k in ("numbers", "positions", "cell")}
        np.savez(config["structure"], **arrays)
        sides = {
            "backbones": Side(HERE / "backbones_side.py", config),
            "mlip": Side(HERE / "mlip_side.py", config, "mlip"),
            "mace-torch": Side(HERE / "mace_torch_side.py", config, "mace-torch"),
        }
        differences = parity(structure, config["parity"])
    times = {(name, task): [] for name in sides for task in TASKS}
    for _ in range(rounds):
        for name, task in times:
            time.sleep(0.2)  # until the threads of the previous side are idle
            times[name, task].append(sides[name].seconds(task))
    for side in sides.values():
        side.end()
    irreps = " + ".join(["0e", "1o"][: degree + 1])
    text = "energies differ by {:.0e} eV and forces by {:.0e} of {:.0e} eV/Å"
    print(f"\nHidden {irreps}; float64, weights of mace-torch:", end=" ")
    print(text.format(*differences))
    table(sides, times)


def table(sides, times):
    """Prints the medians of all sides, and their ratios to those of backbones."""
    print("| | parameters | edges |", end="")
    print("".join(f" {label}, ms | ratio |" for label in TASKS.values()), end="")
    print(" first training step, s |")
    print("|---|" + "---:|" * (2 * len(TASKS) + 3))
    medians = {key: statistics.median(values) for key, values in times.items()}
    for name, side in sides.items():
        properties, cells = side.properties, []
        for task in TASKS:
            ratio = medians[name, task] / medians["backbones", task]
            cells += [f"{1e3 * medians[name, task]:.0f}", f"{ratio:.1f}"]
        cells.append(f"{properties['first']['train']:.1f}")
        numbers = [str(properties["parameters"]), str(properties["edges"]), *cells]
        print(f"| {name} | {' | '.join(numbers)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 atoms, 3 rounds")
    quick = parser.parse_args().quick
    structure = crystal((4, 4, 4) if quick else (8, 8, 4))
    edges = len(bb.neighbors(structure.positions, structure.cell, CUTOFF))
    print(f"{len(structure)} atoms, {edges} edges")
    for degree in (1, 0):
        compare(structure, degree, 3 if quick else 5)


if __name__ == "__main__":
    main()
