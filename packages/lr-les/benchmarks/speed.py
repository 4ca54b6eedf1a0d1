"""Energy and forces of the reciprocal sum: lr-les, jax-pme and torch-pme.

All codes use the same random charges at 0.1 atoms per Å³, the same smearing (1 Å) and
the same vectors (all with |k| < k_c, k_c for a tolerance of 1e-6). First, in float64,
energies are compared with those of jax-pme for our list of vectors (ours without the
smooth window), and forces with our sum at 1e-12. Then all are timed in float32,
alternately, and the medians are compared. The other codes have several forms: Ewald
sums over their default box of vectors ("box"), Ewald sums over our list ("sphere"), and
P3M meshes with at most 0.6 Å ("coarse") and 0.3 Å ("fine") between points, rounded up
to powers of two; "mesh 1e-4" is ours at a tolerance similar to theirs. A batch of 16
structures of different size is a `vmap` over padded structures for lr-les and jax-pme,
and a loop for torch-pme. The gradient of a force loss, as in a training step, is timed
for the JAX codes.

    uv run python packages/lr-les/benchmarks/speed.py [--quick]

torch-pme runs in a separate environment: set TORCH_PME_PYTHON to its Python.
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
from lr_les import COULOMB_CONSTANT, KGrid, Mesh, energy

DENSITY, SIGMA = 0.1, 1.0
# Estimated number of arrays of atoms times vectors in other codes; memory limit in
# bytes.
COPIES, MEMORY = 6, 8e9
SPACINGS = {"P3M coarse": 0.6, "P3M fine": 0.3}


def structure(atoms, seed=0):
    rng = np.random.default_rng(seed)
    length = (atoms / DENSITY) ** (1 / 3)
    cell = length * np.array([[1.0, 0, 0], [0.1, 1.05, 0], [-0.05, 0.08, 0.95]])
    charges = rng.normal(size=atoms)
    return charges - charges.mean(), rng.uniform(0, 1, (atoms, 3)) @ cell, cell


def box_of(cell, cutoff):
    """Points per lattice direction of the smallest box of vectors around the sphere."""
    bounds = np.floor(np.linalg.norm(cell, axis=1) * cutoff / (2 * np.pi)).astype(int)
    return tuple(int(n) for n in 2 * bounds + 1)


def half_sphere(cell, cutoff):
    """Integers of one half of the vectors with |k| < cutoff."""
    shape = box_of(cell, cutoff)
    n = np.stack(
        np.meshgrid(*[np.arange(s) - s // 2 for s in shape], indexing="ij"), -1
    )
    n = n.reshape(-1, 3)
    first = (n[:, 0] > 0) | ((n[:, 0] == 0) & (n[:, 1] > 0))
    n = n[first | ((n[:, 0] == 0) & (n[:, 1] == 0) & (n[:, 2] > 0))]
    k = 2 * np.pi * n @ np.linalg.inv(cell).T
    return n[np.sum(k * k, axis=1) < cutoff**2]


def ours(plan):
    return lambda q, r, cell: jnp.sum(energy(q, r, cell, plan=plan))


def of_jax_pme(kind, cell, cutoff):
    """The reciprocal energy of jax-pme's solvers, including k_e."""
    periodic, kernel = np.array([True] * 3), potential()
    shape = box_of(cell, cutoff)
    integers = jnp.asarray(half_sphere(cell, cutoff), jnp.result_type(float))

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
                2 ** math.ceil(math.log2(length / SPACINGS[kind]))
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


def exact_energy(q, r, cell, cutoff):
    """jax-pme's energy of neutral charges, summed over parts of the vectors."""
    kernel, periodic = potential(), np.array([True] * 3)
    volume, width = jnp.abs(jnp.linalg.det(cell)), jnp.asarray(SIGMA, r.dtype)
    solver, total = ewald(kernel, halfspace=True), 0.0
    vectors = half_sphere(np.asarray(cell), cutoff) @ np.asarray(get_reciprocal(cell))
    parts = np.array_split(vectors, max(1, len(vectors) * len(q) // 20_000_000))
    self_energy = jnp.sum(q * q) / (SIGMA * math.sqrt(2 * math.pi))
    for part in parts:
        half = solver.kspace(width, q, jnp.asarray(part), r, volume, cell, periodic)
        total = total + jnp.sum(q * half) + self_energy  # each part subtracts it
    return COULOMB_CONSTANT * (total - self_energy)


def energy_and_gradient(value):
    return jax.jit(jax.value_and_grad(value, argnums=1))


def force_loss(value):
    loss = lambda q, r, cell: jnp.sum(jax.grad(value, argnums=1)(q, r, cell) ** 2)
    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def alternating_medians(functions, arguments, repeats):
    """Median seconds of each function; the functions are called alternately."""
    for function in functions.values():
        jax.block_until_ready(function(*arguments))
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def torch_pme(structures, cutoff, repeats):
    """Seconds, energies and gradients of torch-pme by form, in a separate process."""
    python = os.environ.get("TORCH_PME_PYTHON")
    if not python:
        print(
            "torch-pme is not measured: set TORCH_PME_PYTHON to a Python with torch-pme"
        )
        return {}
    script = Path(__file__).with_name("torch_pme_side.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "structures.json"
        arrays = [[x.tolist() for x in parts] for parts in structures]
        settings = {
            "cutoff": cutoff,
            "sigma": SIGMA,
            "copies": COPIES,
            "memory": MEMORY,
        }
        settings |= {"spacings": SPACINGS}
        path.write_text(json.dumps({"structures": arrays} | settings))
        command = [python, str(script), str(path), str(repeats)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {f"torch-pme {k}": x for k, x in json.loads(run.stdout).items()}


def errors(values, exact, cell, cutoff):
    """Returns an error function, and the errors of energies and forces of `values`."""
    reference = float(exact_energy(*exact, cutoff))
    plan_for = lambda **options: KGrid.for_structures(cell, exact[1], **options)
    of_plan = lambda plan: energy_and_gradient(ours(plan))(*exact)
    sharp = of_plan(plan_for(dl=2 * math.pi / cutoff))[0]
    forces = of_plan(plan_for(tolerance=1e-12))[1]

    def error_of(energy, gradient):
        difference = np.linalg.norm(np.asarray(gradient) - forces)
        relative = difference / np.linalg.norm(forces)
        return abs(float(energy) / reference - 1), float(relative)

    print(f"\n{len(forces)} atoms; energy error for the same vectors", end=" ")
    print(f"{abs(float(sharp) / reference - 1):.0e}")
    return error_of, {
        name: error_of(*energy_and_gradient(value)(*exact))
        for name, value in values.items()
    }


def compare_single(atoms, repeats):
    q, r, cell = structure(atoms)
    vectors = KGrid.for_structures(cell, r)
    cutoff = vectors.cutoff
    names = {"sphere": "jax-pme sphere", "box": "jax-pme box"}
    names |= {kind: f"jax-pme {kind}" for kind in SPACINGS}
    if 8 * COPIES * atoms * math.prod(box_of(cell, cutoff)) > MEMORY:
        del names["box"]
    mesh = lambda tolerance: Mesh.for_structures(cell, r, tolerance=tolerance)
    values = {"direct": ours(vectors), "mesh": ours(mesh(1e-6))}
    values |= {"mesh 1e-4": ours(mesh(1e-4))}
    with jax.enable_x64(True):
        exact = [jnp.asarray(x) for x in (q, r, cell)]
        theirs = {name: of_jax_pme(kind, cell, cutoff) for kind, name in names.items()}
        if 8 * COPIES * atoms * len(half_sphere(cell, cutoff)) > MEMORY:
            del theirs["jax-pme sphere"]
        error_of, by_name = errors(values | theirs, exact, cell, cutoff)
    values |= {name: of_jax_pme(kind, cell, cutoff) for kind, name in names.items()}
    small = [jnp.asarray(x, jnp.float32) for x in (q, r, cell)]
    forward = alternating_medians(
        {k: energy_and_gradient(v) for k, v in values.items()}, small, repeats
    )
    torch = torch_pme([(q, r, cell)], cutoff, repeats)
    by_name |= {
        name: error_of(x["energies"][0], x["gradients"][0])
        for name, x in torch.items()
        if "energies" in x
    }
    forward |= {name: x["seconds"] for name, x in torch.items() if "seconds" in x}
    table(forward, "energy + forces", by_name)
    if atoms <= 1000:
        chosen = {k: force_loss(v) for k, v in values.items() if k != "jax-pme box"}
        train = alternating_medians(chosen, small, max(3, repeats // 2))
        table(train, "gradient of a force loss", by_name)


def table(seconds, title, errors):
    """Prints milliseconds, ratios to our methods, errors of energy and forces."""
    print(f"| {title} | ms | times direct | times mesh | error of energy, forces |")
    print("|---|---:|---:|---:|---:|")
    for name, value in seconds.items():
        ratios = [value / seconds[side] for side in ("direct", "mesh")]
        text = ", ".join(f"{x:.0e}" for x in errors.get(name, ()))
        numbers = f"{1e3 * value:.2f} | {ratios[0]:.1f} | {ratios[1]:.1f} | {text}"
        print(f"| {name} | {numbers} |", flush=True)


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
    vectors = KGrid.for_structures(cells, r, mask)
    cutoff = vectors.cutoff
    lists = [half_sphere(cell, cutoff) for cell in cells]
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

    def with_plan(plan):
        one = lambda q, r, c, m, p: jnp.sum(energy(q, r, c, mask=m, plan=p))
        return lambda q, r, c: jax.vmap(one)(q, r, c, jnp.asarray(mask), plan)

    largest = cells[np.argmax(sizes)]  # the other cells have the same shape
    values = {
        "direct": with_plan(vectors),
        "mesh": with_plan(Mesh.for_structures(cells, r, mask, tolerance=1e-6)),
        "jax-pme sphere": theirs,
    }
    values |= {
        f"jax-pme {kind}": jax.vmap(of_jax_pme(kind, largest, cutoff))
        for kind in SPACINGS
    }
    with jax.enable_x64(True):
        exact = [jnp.asarray(x) for x in (q, r, cells)]
        energies = {name: jax.jit(value)(*exact) for name, value in values.items()}
        reference = np.asarray(energies.pop("jax-pme sphere"))
    summed = {k: lambda *a, v=v: jnp.sum(v(*a)) for k, v in values.items()}
    small = [jnp.asarray(x, jnp.float32) for x in (q, r, cells)]
    forward = alternating_medians(
        {k: energy_and_gradient(v) for k, v in summed.items()}, small, repeats
    )
    train = alternating_medians(
        {k: force_loss(v) for k, v in summed.items()}, small, repeats
    )
    torch = torch_pme(parts, cutoff, repeats)
    energies |= {name: x["energies"] for name, x in torch.items()}
    forward |= {name: x["seconds"] for name, x in torch.items()}
    errors_by_name = {
        name: [np.max(np.abs(np.asarray(each) / reference - 1))]
        for name, each in energies.items()
    }
    print(f"\n16 structures of {sizes.min()} to {slots} atoms; largest energy error")
    table(forward, "energy + forces", errors_by_name)
    table(train, "gradient of a force loss", errors_by_name)


def crossover(repeats):
    """Number of atoms above which the mesh is faster, used by `lattice_plan`."""
    print("\n| atoms | atoms x vectors | energy + forces, direct / mesh | training |")
    print("|---:|---:|---:|---:|")
    for atoms in (50, 100, 200, 400, 800):
        q, r, cell = structure(atoms)
        small = [jnp.asarray(x, jnp.float32) for x in (q, r, cell)]
        vectors = KGrid.for_structures(cell, r)
        mesh = Mesh.for_structures(cell, r, tolerance=1e-6)
        values = {"direct": ours(vectors), "mesh": ours(mesh)}
        both = [
            alternating_medians({k: make(v) for k, v in values.items()}, small, repeats)
            for make in (energy_and_gradient, force_loss)
        ]
        ratios = " | ".join(f"{times['direct'] / times['mesh']:.2f}" for times in both)
        work = atoms * len(half_sphere(cell, vectors.cutoff))
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
