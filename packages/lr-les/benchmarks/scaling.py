"""Time and memory of energy + forces from 500 to 20 000 atoms: vectors, mesh, open.

Random charges at 0.1 atoms per Å³, float32, tolerance 1e-5. Every point is measured in
a separate process; memory is its peak minus that of a process with eight atoms.
`jax-pme` is its Ewald sum over the same vectors, up to the largest size within the
memory limit of 8 GB.

    uv run python packages/lr-les/benchmarks/scaling.py [--quick]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
from lr_les import KGrid, Mesh, energy
from speed import energy_and_gradient, of_jax_pme, structure

LIMIT = 8 * 2**30


def value_of(method, positions, cell):
    if method == "open":
        return lambda q, r, cell: jnp.sum(energy(q, r))
    if method == "jax-pme":
        plan = KGrid.for_structures(cell, positions, tolerance=1e-5)
        return of_jax_pme("sphere", cell, plan.cutoff)
    kind = Mesh if method == "mesh" else KGrid
    plan = kind.for_structures(cell, positions, tolerance=1e-5)
    return lambda q, r, cell: jnp.sum(energy(q, r, cell, plan=plan))


def measure(method, atoms):
    """Returns the median seconds of three calls and the peak bytes of this process."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    q, r, cell = structure(atoms)
    function = energy_and_gradient(value_of(method, r, cell))
    arguments = [jnp.asarray(x, jnp.float32) for x in (q, r, cell)]
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return statistics.median(times), peak


def measure_in_process(method, atoms):
    """Calls `measure` in a separate process; returns None if it fails."""
    command = [sys.executable, __file__, "--measure", method, str(atoms)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if run.returncode else json.loads(run.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small sizes")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], int(options.measure[1]))))
        return
    sizes = (200, 500) if options.quick else (500, 1000, 2000, 5000, 10_000, 20_000)
    methods = ("direct", "mesh", "open", "jax-pme")
    base = {method: measure_in_process(method, 8)[1] for method in methods}
    print("| atoms | " + " | ".join(f"{m}, s | {m}, MB" for m in methods) + " |")
    print("|---:|" + "---:|" * 2 * len(methods))
    failed = set()
    for atoms in sizes:
        cells = []
        for method in methods:
            result = None if method in failed else measure_in_process(method, atoms)
            if result is None:
                failed.add(method)
                cells.append("- | -")
            else:
                extra = max(0.0, result[1] - base[method]) / 1e6
                cells.append(f"{result[0]:.3f} | {extra:.0f}")
        print(f"| {atoms} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
