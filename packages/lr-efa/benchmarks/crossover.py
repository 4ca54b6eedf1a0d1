"""Exact sum over pairs or quadrature: the faster one by number of atoms and grid.

Compares `attend(..., method="exact")` and `method="quadrature"` for the same atoms in
float32: one evaluation with the gradients with respect to positions, queries, keys and
values, for one structure and for 16 structures. The threshold of `"auto"` is taken from
this table.

    python crossover.py
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import jax.random as jr
from lr_efa import OpenPlan, attend, frequency_grid, lebedev_grid


def program(method, grid, extent):
    omegas = frequency_grid(16, grid.max_phase / extent)
    plan = OpenPlan(grid, omegas[-1])

    def total(query, key, value, positions):
        attended = attend(
            query, key, value, positions, frequencies=omegas, method=method, plan=plan
        )
        return jnp.sum(attended**2)

    gradients = jax.value_and_grad(total, argnums=(0, 1, 2, 3))
    return jax.jit(jax.vmap(gradients))


def medians(programs, arguments, repeats):
    """Median milliseconds of CPU and wall-clock time, programs run alternately."""
    times = {name: [] for name in programs}
    for _ in range(repeats + 1):
        for name, run in programs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(run(*arguments))
            elapsed = time.process_time() - cpu, time.perf_counter() - wall
            times[name].append(elapsed)
    return {
        name: [1e3 * statistics.median(x) for x in zip(*values[1:], strict=True)]
        for name, values in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two sizes, one grid")
    quick = parser.parse_args().quick
    names = "exact cpu", "quad cpu", "exact", "quad"
    head = f"{'points':>6} {'graphs':>6} {'atoms':>6}"
    print(head, *(f"{name:>9}" for name in names), "(ms)  exact/quad cpu, wall")
    sizes = (32, 128) if quick else (32, 64, 128, 256, 512, 1024)
    for max_phase in (3.14,) if quick else (3.14, 12.0, 24.0):
        grid = lebedev_grid(max_phase)
        for graphs in (1, 16):
            for atoms in sizes:
                if graphs * atoms > 2048:
                    continue
                keys = jr.split(jr.key(atoms), 4)
                features = [jr.normal(key, (graphs, atoms, 32)) for key in keys[:3]]
                positions = 6 * jr.uniform(keys[3], (graphs, atoms, 3))
                programs = {
                    method: program(method, grid, 11.0)
                    for method in ("exact", "quadrature")
                }
                medians_by_method = medians(
                    programs, (*features, positions), 1 if quick else 5
                )
                exact, quadrature = (
                    medians_by_method["exact"],
                    medians_by_method["quadrature"],
                )
                values = [exact[0], quadrature[0], exact[1], quadrature[1]]
                row = f"{len(grid):6} {graphs:6} {atoms:6}"
                ratios = (
                    f"{exact[0] / quadrature[0]:12.2f} {exact[1] / quadrature[1]:6.2f}"
                )
                print(row, *(f"{x:9.2f}" for x in values), ratios, flush=True)


if __name__ == "__main__":
    main()
