"""Comparison with the published batched form, in memory and time.

(a) The published form: the outer product of the rotated key and the value of every atom
at every grid point, `[atoms, points, D_qk, D_v]`, is summed over each graph and the
sums are gathered to the atoms. (b) `attend` by quadrature under `jax.vmap`. Both use
the same grid of 50 points, D_qk = D_v = 32 and float32; one evaluation with the
gradients with respect to positions, queries, keys and values. Memory is the temporary
storage that the compiler reports. Then (b) alone, from 1 000 to 16 000 atoms.

    python reference.py
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from lr_efa import OpenPlan, attend, frequency_grid, lebedev_grid

MAX_PHASE, EXTENT = np.pi, 10.0
GRID, OMEGAS = lebedev_grid(MAX_PHASE), frequency_grid(16, MAX_PHASE / EXTENT)


def outer_products(query, key, value, positions):
    """The published form on a batch of graphs of equal size."""
    graphs, atoms = query.shape[:2]
    flat = lambda x: x.reshape(graphs * atoms, -1)
    query, key, value, positions = map(flat, (query, key, value, positions))
    graph = jnp.arange(graphs * atoms) // atoms
    points, weights = jnp.asarray(GRID.points), jnp.asarray(GRID.weights)
    phases = jnp.matmul(positions, points.T, precision="highest")
    phases = phases[:, :, None] * jnp.asarray(OMEGAS)
    cosines, sines = jnp.cos(phases), jnp.sin(phases)

    def rotated(x):
        first, second = x[:, None, 0::2], x[:, None, 1::2]
        pair = first * cosines - second * sines, second * cosines + first * sines
        return jnp.stack(pair, axis=-1).reshape(len(x), len(points), -1)

    products = rotated(key)[..., None] * value[:, None, None]
    sums = jax.ops.segment_sum(products, graph, graphs)
    attended = jnp.einsum("npd,npdv->npv", rotated(query), sums[graph])
    mean = jnp.einsum("p,npv->nv", weights, attended) / query.shape[1] ** 0.5
    return mean.reshape(graphs, atoms, -1)


@jax.vmap
def ours(query, key, value, positions):
    options = {"frequencies": OMEGAS, "plan": OpenPlan(GRID, OMEGAS[-1])}
    return attend(query, key, value, positions, method="quadrature", **options)


def compiled(form, arguments):
    total = lambda *arguments: jnp.sum(form(*arguments) ** 2)
    gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))
    return gradients.lower(*arguments).compile()


def seconds(programs, arguments, repeats):
    """Medians of wall-clock and CPU time, programs run alternately."""
    times = {name: [] for name in programs}
    for _ in range(repeats + 1):
        for name, run in programs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(run(*arguments))
            elapsed = time.perf_counter() - wall, time.process_time() - cpu
            times[name].append(elapsed)
    return {
        name: [statistics.median(x) for x in zip(*values[1:], strict=True)]
        for name, values in times.items()
    }


def features(graphs, atoms):
    keys = jr.split(jr.key(0), 4)
    arrays = [jr.normal(key, (graphs, atoms, 32)) for key in keys[:3]]
    edge = EXTENT / 3**0.5
    return *arrays, edge * jr.uniform(keys[3], (graphs, atoms, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and once")
    quick = parser.parse_args().quick
    repeats = 1 if quick else 5
    head = f"{'graphs':>6} {'atoms':>6} {'form':<15}"
    print(head, f"{'MB':>8} {'wall ms':>8} {'cpu ms':>8}")
    for graphs, atoms in ((4, 64),) if quick else ((32, 64), (1, 4096)):
        arguments = features(graphs, atoms)
        programs = {
            "outer products": compiled(outer_products, arguments),
            "attend": compiled(ours, arguments),
        }
        left, right = (run(*arguments)[1][3] for run in programs.values())
        error = jnp.max(jnp.abs(left - right)) / jnp.max(jnp.abs(left))
        medians = seconds(programs, arguments, repeats)
        rows = []
        for name, run in programs.items():
            memory = run.memory_analysis().temp_size_in_bytes / 1e6
            wall, cpu = (1e3 * x for x in medians[name])
            rows.append((memory, wall, cpu))
            row = f"{graphs:6} {atoms:6} {name:<15} {memory:8.1f}"
            print(row, f"{wall:8.1f} {cpu:8.1f}", flush=True)
        ratios = [f"{a / b:8.1f}" for a, b in zip(*rows, strict=True)]
        print(f"{'':13} {'ratio':<15}", *ratios, f" gradients differ by {error:.0e}")
    for atoms in (250, 500) if quick else (1000, 2000, 4000, 8000, 16000):
        arguments = features(1, atoms)
        run = compiled(ours, arguments)
        wall, cpu = seconds({"attend": run}, arguments, repeats)["attend"]
        memory = run.memory_analysis().temp_size_in_bytes / 1e6
        row = f"{1:6} {atoms:6} {'attend':<15} {memory:8.1f} {1e3 * wall:8.1f}"
        print(row, f"{1e3 * cpu:8.1f}  {1e6 * cpu / atoms:.1f} us per atom")


if __name__ == "__main__":
    main()
