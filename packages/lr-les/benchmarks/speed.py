"""Energy and forces of the reciprocal sum: lr-les against jax-pme and torch-pme.

Both sides see the same random charges at 0.1 atoms per Å³, the same smearing (1 Å) and
the same vectors (all with |k| < k_c, k_c for a tolerance of 1e-6); their energies are
first shown equal to 1e-6 in float64 ("same vectors": without the smooth window), then
both are timed in float32, in turns, and the medians are compared. Of each peer several
forms are listed: Ewald sums over the box of vectors that it makes itself, Ewald sums
over our list of vectors ("sphere"), and its P3M mesh. A batch of 16 unequal structures
is a `vmap` over padded structures for lr-les and jax-pme, and a loop for torch-pme. The
gradient of a force loss, what a training step needs, is timed for the JAX codes.

    uv run python packages/lr-les/benchmarks/speed.py [--quick]

torch-pme runs in an environment of its own: name its Python in TORCH_PME_PYTHON.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxpme.kspace import generate_kvectors, get_reciprocal
from jaxpme.potentials import potential
from jaxpme.solvers import ewald, p3m
from lr_les import COULOMB_CONSTANT, energy, k_grid, mesh

DENSITY, SIGMA = 0.1, 1.0
# Arrays of all atoms and vectors that a peer holds at once, and the bytes it may take.
COPIES, MEMORY = 6, 8e9


def structure(atoms, seed=0):
    rng = np.random.default_rng(seed)
    length = (atoms / DENSITY) ** (1 / 3)
    cell = length * np.array([[1.0, 0, 0], [0.1, 1.05, 0], [-0.05, 0.08, 0.95]])
    charges = rng.normal(size=atoms)
    return charges - charges.mean(), rng.uniform(0, 1, (atoms, 3)) @ cell, cell


def box_of(cell, end):
    """Points a lattice direction of the smallest box of vectors around the sphere."""
    most = np.floor(np.linalg.norm(cell, axis=1) * end / (2 * np.pi)).astype(int)
    return tuple(int(n) for n in 2 * most + 1)


def half_sphere(cell, end):
    """Integers of one half of the vectors with |k| < end."""
    shape = box_of(cell, end)
    n = np.stack(
        np.meshgrid(*[np.arange(s) - s // 2 for s in shape], indexing="ij"), -1
    )
    n = n.reshape(-1, 3)
    first = (n[:, 0] > 0) | ((n[:, 0] == 0) & (n[:, 1] > 0))
    n = n[first | ((n[:, 0] == 0) & (n[:, 1] == 0) & (n[:, 2] > 0))]
    k = 2 * np.pi * n @ np.linalg.inv(cell).T
    return n[np.sum(k * k, axis=1) < end**2]


def ours(grid):
    return lambda q, r, cell: jnp.sum(energy(q, r, cell, grid=grid))


def of_jax_pme(kind, cell, end, spacing=0.6):
    """The reciprocal energy as jax-pme's solvers make it, k_e included."""
    periodic, kernel = np.array([True] * 3), potential()
    shape = box_of(cell, end)
    integers = jnp.asarray(half_sphere(cell, end), jnp.result_type(float))

    def value(q, r, cell):
        reciprocal = get_reciprocal(cell)
        volume = jnp.abs(jnp.linalg.det(cell))
        width = jnp.asarray(SIGMA, r.dtype)
        if kind == "box":
            k = generate_kvectors(reciprocal, shape, dtype=r.dtype)
            half = ewald(kernel).kspace(width, q, k, r, volume, cell, periodic)
        elif kind == "sphere":
            k = integers.astype(r.dtype) @ reciprocal
            solver = ewald(kernel, halfspace=True)
            half = solver.kspace(width, q, k, r, volume, cell, periodic)
        else:
            points = [
                2 ** math.ceil(math.log2(length / spacing))
                for length in np.linalg.norm(np.asarray(cell_shape), axis=1)
            ]
            k = generate_kvectors(reciprocal, tuple(points), False, r.dtype)
            solver = p3m(kernel, interpolation_nodes=5)
            grid = np.ones(points)
            half = solver.kspace(
                width, q, reciprocal, grid, k, r, volume, cell, periodic
            )
        return COULOMB_CONSTANT * jnp.sum(q * half)

    cell_shape = np.asarray(cell)
    return value


def exactly(q, r, cell, end):
    """jax-pme's energy of neutral charges, its vectors in parts that fit the memory."""
    kernel, periodic = potential(), np.array([True] * 3)
    volume, width = jnp.abs(jnp.linalg.det(cell)), jnp.asarray(SIGMA, r.dtype)
    solver, total = ewald(kernel, halfspace=True), 0.0
    vectors = half_sphere(np.asarray(cell), end) @ np.asarray(get_reciprocal(cell))
    parts = np.array_split(vectors, max(1, len(vectors) * len(q) // 20_000_000))
    own = jnp.sum(q * q) / (SIGMA * math.sqrt(2 * math.pi))
    for part in parts:
        half = solver.kspace(width, q, jnp.asarray(part), r, volume, cell, periodic)
        total = total + jnp.sum(q * half) + own  # every part subtracts it
    return COULOMB_CONSTANT * (total - own)


def slopes(value):
    return jax.jit(jax.value_and_grad(value, argnums=1))


def force_loss(value):
    loss = lambda q, r, cell: jnp.sum(jax.grad(value, argnums=1)(q, r, cell) ** 2)
    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def in_turns(functions, arguments, repeats):
    """Median seconds of each function, called one after the other, round by round."""
    for function in functions.values():
        jax.block_until_ready(function(*arguments))
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def torch_pme(structures, end, repeats):
    """Seconds and energies of torch-pme in its own environment, or why not."""
    python = os.environ.get("TORCH_PME_PYTHON")
    if not python:
        return "not run: TORCH_PME_PYTHON names no Python with torch-pme"
    script = Path(__file__).with_name("torch_pme_side.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "structures.json"
        arrays = [[x.tolist() for x in parts] for parts in structures]
        settings = {"end": end, "sigma": SIGMA, "copies": COPIES, "memory": MEMORY}
        path.write_text(json.dumps({"structures": arrays} | settings))
        command = [python, str(script), str(path), str(repeats)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return f"failed: {run.stderr.strip().splitlines()[-1]}"
    return json.loads(run.stdout)


def compare_single(atoms, repeats):
    q, r, cell = structure(atoms)
    with jax.enable_x64(True):
        exact = [jnp.asarray(x) for x in (q, r, cell)]
        end = k_grid(cell).end
        energies = {
            "same vectors": ours(k_grid(cell, dl=2 * math.pi / end))(*exact),
            "direct": ours(k_grid(cell))(*exact),
            "mesh": ours(mesh(cell, tolerance=1e-6))(*exact),
            "jax-pme sphere": exactly(*exact, end),
        }
    small = [jnp.asarray(x, jnp.float32) for x in (q, r, cell)]
    values = {
        "direct": ours(k_grid(cell)),
        "mesh": ours(mesh(cell, tolerance=1e-6)),
        "jax-pme sphere": of_jax_pme("sphere", cell, end),
        "jax-pme P3M": of_jax_pme("P3M", cell, end),
    }
    needed = 4 * COPIES * atoms * math.prod(box_of(cell, end))
    if needed < MEMORY:
        values["jax-pme box"] = of_jax_pme("box", cell, end)
    else:
        print(f"\njax-pme box at {atoms} atoms: not run, needs {needed / 1e9:.0f} GB")
    forward = in_turns({k: slopes(v) for k, v in values.items()}, small, repeats)
    train = {}
    if atoms <= 1000:
        chosen = {k: force_loss(v) for k, v in values.items() if k != "jax-pme box"}
        train = in_turns(chosen, small, max(3, repeats // 2))
    torch = torch_pme([(q, r, cell)], end, repeats)
    if isinstance(torch, dict):
        if torch["energies"]:
            energies["torch-pme Ewald"] = torch["energies"][0]
        forward |= {f"torch-pme {k}": s for k, s in torch["seconds"].items()}
    reference = energies["jax-pme sphere"]
    off = {k: abs(float(v / reference) - 1) for k, v in energies.items()}
    print(f"\n{atoms} atoms; energies apart from jax-pme's: " + spelled(off))
    if isinstance(torch, str):
        print("torch-pme " + torch)
    table(forward, "energy + forces", "direct", "mesh")
    if train:
        table(train, "gradient of a force loss", "direct", "mesh")


def spelled(numbers):
    return ", ".join(f"{name} {value:.0e}" for name, value in numbers.items())


def table(seconds, title, *own):
    print(f"| {title} | ms | times direct | times mesh |\n|---|---:|---:|---:|")
    for name, value in seconds.items():
        ratios = " | ".join(f"{value / seconds[side]:.1f}" for side in own)
        print(f"| {name} | {1e3 * value:.2f} | {ratios} |")


def compare_batch(repeats):
    """Sixteen structures of 50 to 350 atoms, padded together."""
    sizes = np.random.default_rng(5).integers(50, 350, 16)
    parts = [structure(int(n), seed=i) for i, n in enumerate(sizes)]
    slots = int(sizes.max())
    q, r = np.zeros((16, slots)), np.zeros((16, slots, 3))
    for i, (charges, positions, _) in enumerate(parts):
        q[i, : sizes[i]], r[i, : sizes[i]] = charges, positions
    mask = np.arange(slots) < sizes[:, None]
    cells = np.stack([cell for _, _, cell in parts])
    end = k_grid(cells).end
    lists = [half_sphere(cell, end) for cell in cells]
    padded = np.zeros((16, max(map(len, lists)), 3))
    for i, n in enumerate(lists):
        padded[i, : len(n)] = n
    kernel, periodic = potential(), np.array([True] * 3)

    def theirs(q, r, cells):
        def one(q, r, cell, n):
            k = n @ get_reciprocal(cell)
            volume = jnp.abs(jnp.linalg.det(cell))
            width = jnp.asarray(SIGMA, r.dtype)
            solver = ewald(kernel, halfspace=True)
            return jnp.sum(q * solver.kspace(width, q, k, r, volume, cell, periodic))

        integers = jnp.asarray(padded, r.dtype)
        return COULOMB_CONSTANT * jax.vmap(one)(q, r, cells, integers)

    def with_plan(make):
        plan = make(cells)
        one = lambda q, r, c, m, g: jnp.sum(energy(q, r, c, mask=m, grid=g))
        return lambda q, r, c: jax.vmap(one)(q, r, c, jnp.asarray(mask), plan)

    on_mesh = lambda cells: mesh(cells, tolerance=1e-6)
    with jax.enable_x64(True):
        exact = [jnp.asarray(x) for x in (q, r, cells)]
        reference = theirs(*exact)
        sides = {"direct": with_plan(k_grid), "mesh": with_plan(on_mesh)}
        off = {
            k: float(jnp.max(jnp.abs(v(*exact) / reference - 1)))
            for k, v in sides.items()
        }
    values = {
        "direct": with_plan(k_grid),
        "mesh": with_plan(on_mesh),
        "jax-pme sphere": theirs,
    }
    summed = {k: lambda *a, v=v: jnp.sum(v(*a)) for k, v in values.items()}
    small = [jnp.asarray(x, jnp.float32) for x in (q, r, cells)]
    forward = in_turns({k: slopes(v) for k, v in summed.items()}, small, repeats)
    train = in_turns({k: force_loss(v) for k, v in summed.items()}, small, repeats)
    torch = torch_pme(parts, end, repeats)
    if isinstance(torch, dict):
        off["torch-pme"] = float(np.max(np.abs(torch["energies"] / reference - 1)))
        forward |= {f"torch-pme {k}": s for k, s in torch["seconds"].items()}
    print(
        f"\n16 structures of {sizes.min()} to {slots} atoms; energies apart from "
        f"jax-pme's, worst: {spelled(off)}"
    )
    table(forward, "energy + forces", "direct", "mesh")
    table(train, "gradient of a force loss", "direct", "mesh")


def crossover(repeats):
    """Where the mesh overtakes the vectors: `lattice_plan` has its limit from here."""
    print("\n| atoms | atoms x vectors | energy + forces, direct / mesh | training |")
    print("|---:|---:|---:|---:|")
    for atoms in (50, 100, 200, 400, 800):
        q, r, cell = structure(atoms)
        small = [jnp.asarray(x, jnp.float32) for x in (q, r, cell)]
        grid = k_grid(cell)
        values = {"direct": ours(grid), "mesh": ours(mesh(cell, tolerance=1e-6))}
        both = [
            in_turns({k: make(v) for k, v in values.items()}, small, repeats)
            for make in (slopes, force_loss)
        ]
        ratios = " | ".join(f"{times['direct'] / times['mesh']:.2f}" for times in both)
        work = atoms * len(half_sphere(cell, grid.end))
        print(f"| {atoms} | {work:.1e} | {ratios} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 atoms, few rounds")
    quick = parser.parse_args().quick
    print(f"jax {jax.__version__} on {jax.devices()[0]}, {os.cpu_count()} cores")
    for atoms in (200,) if quick else (200, 1000, 5000):
        compare_single(atoms, 3 if quick else (15 if atoms < 5000 else 5))
    if not quick:
        compare_batch(7)
        crossover(15)


if __name__ == "__main__":
    sys.exit(main())
