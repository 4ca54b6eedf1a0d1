"""MACE on a CPU: ours against mlip 0.2.5 and mace-torch 0.3.16, float32.

The same periodic structure of 256 atoms and 8.7k edges, 64 channels, l_max 3,
correlation 3, two interactions, radial network 64-64-64, with hidden features 0e + 1o
and 0e alone. "evaluate" is energy and forces (ours with the stress), "train" a whole
step: the gradient of an energy and force loss, and Adam. Every side runs in a process
and an environment of its own, is compiled and warmed up, then does one repetition a
round in turns with the others; medians over the rounds. Before that our model with the
weights of mace-torch's is compared with mace-torch in float64, and the numbers of edges
and parameters are printed: mace-torch's basis of products at its default, and mlip's,
have other lengths than ours. Compilation is timed with the persistent cache off.

    uv run python packages/backbones/benchmarks/mace_speed.py [--quick]

`uv run` makes the environments of the peers from the headers of their scripts, unless
MLIP_PYTHON and MACE_TORCH_PYTHON name a Python that has them.
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
WORKS = {"evaluate": "energy + forces", "train": "training step"}


def crystal(shape):
    """About 34 neighbours an atom within 4.5 Å."""
    rng = np.random.default_rng(0)
    axes = [np.arange(n) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    positions = 2.11 * (grid + 0.2 * rng.uniform(size=grid.shape))
    numbers = rng.choice(ELEMENTS, len(grid))
    return bb.Structure(numbers, positions, 2.11 * np.diag(np.asarray(shape, float)))


def parity(structure, path):
    """How far energy (eV) and forces (eV/Å) are apart with the same weights.

    Last comes the largest force.
    """
    with np.load(path) as file:
        found = dict(file)
    state = {k[3:]: v for k, v in found.items() if k.startswith("sd/")}
    with jax.enable_x64(True):
        settings = json.loads(str(found["settings"]))
        potential = bb.from_mace_torch(state, settings)
        (bucket,) = bb.pack([structure], cutoff=CUTOFF, graphs=1, dtype=np.float64)
        out = eqx.filter_jit(potential)(bucket.batch([0]))
        energy = abs(float(out.energy[0] - found["energy"][0]))
        largest = lambda x: float(np.abs(x).max())
        forces = found["forces"]
        return energy, largest(out.forces[0] - forces), largest(forces)


def compare(structure, degree, rounds):
    """Starts all sides with one hidden form, and times them in turns."""
    pairs = len(bb.neighbors(structure, CUTOFF))
    size = {"channels": 64, "hidden_degree": degree, "l_max": 3, "correlation": 3}
    size |= {
        "num_interactions": 2,
        "num_bessel": 8,
        "radial_mlp": [64, 64, 64],
        "readout_width": 16,
    }
    given = {
        "size": size | {"envelope_exponent": 6},
        "elements": ELEMENTS,
        "cutoff": CUTOFF,
    }
    given |= {"avg_num_neighbors": pairs / len(structure), "rate": 1e-4}
    with tempfile.TemporaryDirectory() as folder:
        given["structure"] = str(Path(folder) / "structure.npz")
        given["parity"] = str(Path(folder) / "parity.npz")
        arrays = {k: getattr(structure, k) for k in ("numbers", "positions", "cell")}
        np.savez(given["structure"], **arrays)
        sides = {
            "backbones": Side(HERE / "backbones_side.py", given),
            "mlip": Side(HERE / "mlip_side.py", given, "mlip"),
            "mace-torch": Side(HERE / "mace_torch_side.py", given, "mace-torch"),
        }
        apart = parity(structure, given["parity"])
    taken = {(name, work): [] for name in sides for work in WORKS}
    for _ in range(rounds):
        for name, work in taken:
            time.sleep(0.2)  # threads of the side before go to sleep
            taken[name, work].append(sides[name].seconds(work))
    for side in sides.values():
        side.end()
    form = " + ".join(["0e", "1o"][: degree + 1])
    off = "energies are {:.0e} eV and forces {:.0e} eV/Å of {:.0e} apart".format(*apart)
    print(f"\nHidden {form}; with mace-torch's weights, float64, {off}")
    table(sides, taken)


def table(sides, taken):
    """Medians of all sides, and their ratios to ours."""
    print("| | parameters | edges |", end="")
    print("".join(f" {label}, ms | times ours |" for label in WORKS.values()), end="")
    print(" first training step, s |")
    print("|---|" + "---:|" * (2 * len(WORKS) + 3))
    medians = {key: statistics.median(times) for key, times in taken.items()}
    for name, side in sides.items():
        facts, cells = side.facts, []
        for work in WORKS:
            ratio = medians[name, work] / medians["backbones", work]
            cells += [f"{1e3 * medians[name, work]:.0f}", f"{ratio:.1f}"]
        cells.append(f"{facts['first']['train']:.1f}")
        numbers = [str(facts["parameters"]), str(facts["edges"]), *cells]
        print(f"| {name} | {' | '.join(numbers)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 atoms, 3 rounds")
    quick = parser.parse_args().quick
    structure = crystal((4, 4, 4) if quick else (8, 8, 4))
    print(f"{len(structure)} atoms, {len(bb.neighbors(structure, CUTOFF))} edges")
    for degree in (1, 0):
        compare(structure, degree, 3 if quick else 5)


if __name__ == "__main__":
    main()
