"""Times of the dense solver: assembly of the Coulomb matrix and Cholesky factorization.

500 atoms in 5 000 Å³, float64, tolerance 1e-6, widths unbounded or below 1.25 Å. Then a
batch of 16 structures of different sizes by `vmap`, compared with a batch of structures
that all have the largest size.

    uv run packages/lr-celli/benchmarks/dense_parts.py [--quick]
"""

import argparse
import math
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from lr_celli import Ewald, coulomb_matrix, coulomb_sums, equilibrate


def structure(atoms, seed=0):
    """A random structure of 0.1 atoms per Å³ on a jittered lattice."""
    rng = np.random.default_rng(seed)
    edge = (10.0 * atoms) ** (1 / 3)
    side = int(np.ceil(atoms ** (1 / 3)))
    sites = np.array(list(np.ndindex(side, side, side)))[:atoms] / side
    positions = (sites + rng.uniform(0, 0.3 / side, sites.shape)) * edge
    return positions, rng.choice([0.31, 0.66, 0.76, 1.22], atoms), edge * np.eye(3)


def medians(repeats, **calls):
    """Median time of compiled calls that alternate, s."""
    times = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, (function, *arguments) in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def measure_dense(atoms, repeats):
    positions, widths, cell = map(jnp.asarray, structure(atoms))
    assemble = jax.jit(lambda r, w, c, e: coulomb_matrix(w, r, c, plan=e))
    factor = jax.jit(lambda m: jax.scipy.linalg.cho_factor(m, lower=True)[0])
    for bounds in ((0.1, math.inf), (0.1, 1.25)):
        plan = Ewald.for_structures(
            cell, positions, tolerance=1e-6, width_bounds=bounds
        )
        matrix = assemble(positions, widths, cell, plan) + 10 * jnp.eye(atoms)
        t = medians(
            repeats,
            assembly=(assemble, positions, widths, cell, plan),
            factor=(factor, matrix),
        )
        print(
            f"{atoms} atoms, widths up to {bounds[1]} Å: "
            f"{plan.images.shape[0]} images, {plan.indices.shape[0]} vectors; "
            f"assembly {1e3 * t['assembly']:.1f} ms, "
            f"Cholesky {1e3 * t['factor']:.1f} ms, "
            f"ratio {t['assembly'] / t['factor']:.1f}"
        )


def measure_batch(graphs, largest, repeats):
    def charges(r, w, c, plan, mask):
        coulomb = coulomb_sums(w, r, c, plan=plan, mask=mask)
        chi = jnp.sin(jnp.arange(len(w), dtype=r.dtype))
        return equilibrate(chi, jnp.full_like(w, 14.4), coulomb, 0.0, mask=mask)

    function = jax.jit(jax.vmap(charges))
    sizes = np.linspace(largest // 4, largest, graphs).astype(int)
    calls, vectors = {}, []
    for name, counts in (("mixed", sizes), ("full", np.full(graphs, largest))):
        r, w = np.zeros((graphs, largest, 3)), np.ones((graphs, largest))
        cells = np.zeros((graphs, 3, 3))
        for g, n in enumerate(counts):
            r[g, :n], w[g, :n], cells[g] = structure(n, g)
        plan = Ewald.for_structures(cells, r, tolerance=1e-6, width_bounds=(0.1, 1.25))
        vectors.append(plan.indices.shape[1])
        mask = np.arange(largest) < counts[:, None]
        arrays = (jnp.asarray(x) for x in (r, w, cells))
        calls[name] = (function, *arrays, plan, jnp.asarray(mask))
    t = medians(repeats, **calls)
    print(
        f"batch of {graphs}, {sizes[0]} to {largest} atoms: mixed "
        f"{1e3 * t['mixed']:.1f} ms, all of the largest size {1e3 * t['full']:.1f} ms, "
        f"ratio {t['mixed'] / t['full']:.2f}; {vectors[0]} and {vectors[1]} vectors"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small structures")
    quick = parser.parse_args().quick
    with jax.enable_x64(True):
        measure_dense(60 if quick else 500, 3 if quick else 9)
        measure_batch(4 if quick else 16, 24 if quick else 100, 3 if quick else 5)


if __name__ == "__main__":
    main()
