"""Charges, energy and forces without a matrix: time, memory and steps by size.

Structures of constant density, 0.1 atoms per Å³. `mesh` is the particle mesh, `direct`
the sum over wave vectors with the same neighbors, `dense` the matrix with a Cholesky
factorization; they alternate. Steps are those of conjugate gradients to 1e-6, with the
preconditioner of long wavelengths and with a diagonal preconditioner. Peak memory is
that of the process; sizes increase.

    uv run packages/lr-celli/benchmarks/scaling.py [--quick] [--float64]
"""

import argparse
import math
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from lr_celli import (
    COULOMB_CONSTANT,
    Ewald,
    ParticleMesh,
    conjugate_gradients,
    coulomb_operator,
    coulomb_sums,
    equilibrate,
)

MAX_WIDTH = 1.25


def structure(atoms):
    rng = np.random.default_rng(0)
    edge = (10.0 * atoms) ** (1 / 3)
    side = int(np.ceil(atoms ** (1 / 3)))
    sites = rng.permutation(np.array(list(np.ndindex(side, side, side))))[:atoms] / side
    positions = (sites + rng.uniform(0, 0.3 / side, sites.shape)) * edge
    widths = rng.choice([0.31, 0.66, 0.76, 1.22], atoms)
    arrays = positions, widths, edge * np.eye(3), rng.normal(0, 3, atoms)
    return tuple(map(jnp.asarray, arrays))


@jax.jit
def iterative(positions, widths, cell, chi, plan):
    def total(positions):
        operator = coulomb_operator(widths, positions, cell, plan=plan)
        hardness = jnp.full_like(chi, 14.4)
        q = equilibrate(chi, hardness, operator, 0.0, tolerance=1e-6)
        return q @ operator(q) / 2, q

    return jax.value_and_grad(total, has_aux=True)(positions)


@jax.jit
def dense(positions, widths, cell, chi, plan):
    def total(positions):
        sums = coulomb_sums(widths, positions, cell, plan=plan)
        q = equilibrate(chi, jnp.full_like(chi, 14.4), sums, 0.0)
        return q @ sums(q) / 2, q

    return jax.value_and_grad(total, has_aux=True)(positions)


@jax.jit
def steps(positions, widths, cell, chi, plan):
    operator = coulomb_operator(widths, positions, cell, plan=plan)
    hardness = jnp.full_like(chi, 14.4)
    matvec = lambda v: operator(v) + hardness * v
    diagonal = hardness + COULOMB_CONSTANT / (widths * math.sqrt(math.pi))
    preconditioners = operator.preconditioner(hardness), lambda v: v / diagonal
    return [
        conjugate_gradients(matvec, chi, preconditioner, tolerance=1e-6)[1]
        for preconditioner in preconditioners
    ]


def medians(repeats, calls):
    times = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, (function, arguments) in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def measure(atoms, repeats, methods):
    inputs = structure(atoms)
    positions, _, cell, _ = inputs
    make_plan = lambda direct: ParticleMesh.for_structures(
        cell, positions, width_max=MAX_WIDTH, tolerance=1e-5, skin=0.0, direct=direct
    )
    start = time.perf_counter()
    mesh = make_plan(False)
    plan_time = time.perf_counter() - start
    calls = {"mesh": (iterative, (*inputs, mesh))}
    if "direct" in methods:
        calls["direct"] = (iterative, (*inputs, make_plan(True)))
    if "dense" in methods:
        bounds = (0.1, MAX_WIDTH)
        plan = Ewald.for_structures(
            cell, positions, tolerance=1e-5, width_bounds=bounds
        )
        calls["dense"] = (dense, (*inputs, plan))
    times = medians(repeats, calls)
    counts = [int(n) for n in steps(*inputs, mesh)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    columns = [
        f"{times[name]:9.3f}" if name in times else " " * 9
        for name in ("mesh", "direct", "dense")
    ]
    print(
        f"{atoms:6d} {' '.join(columns)} {plan_time:8.2f} {counts[0]:7d} {counts[1]:9d}"
        f" {peak:8.2f}",
        flush=True,
    )
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 250 atoms")
    parser.add_argument("--float64", action="store_true")
    options = parser.parse_args()
    sizes = (125, 250) if options.quick else (125, 250, 500, 1000, 2000, 4000, 10000)
    print(
        " atoms  mesh (s) direct (s) dense (s) plan (s) steps diagonal steps peak (GiB)"
    )
    times = {}
    with jax.enable_x64(options.float64):
        for atoms in sizes:
            methods = ["direct"] * (atoms <= 4000) + ["dense"] * (atoms <= 2000)
            times[atoms] = measure(atoms, 2 if options.quick else 3, methods)
    first = sizes[0] if options.quick else 1000
    for method in ("mesh", "direct"):
        last = max(n for n in sizes if method in times[n])
        power = math.log(times[last][method] / times[first][method])
        power /= math.log(last / first)
        print(f"{method}: time grows as N^{power:.2f} from {first} to {last} atoms")


if __name__ == "__main__":
    main()
