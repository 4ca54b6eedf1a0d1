"""Charges, energy and forces of a crystal: this package and the published algorithm.

The published algorithm computes the Coulomb matrix as the Hessian of a mesh energy with
respect to the charges by automatic differentiation, solves the bordered system by LU
and differentiates through all steps. Here it uses the mesh of this package, so that the
results are the same. Both are compiled, in float32 as in training, or in float64 with
`--float64`. They alternate, and medians are printed.

    uv run packages/lr-celli/benchmarks/published_algorithm.py [--quick] [--float64]
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from lr_celli import (
    Ewald,
    ParticleMesh,
    coulomb_operator,
    coulomb_sums,
    equilibrate,
)


def structure(atoms):
    """A random structure of 0.1 atoms per Å³ on a jittered lattice, triclinic."""
    rng = np.random.default_rng(0)
    edge = (10.0 * atoms) ** (1 / 3)
    cell = edge * (np.eye(3) + np.tril(rng.uniform(-0.15, 0.15, (3, 3)), -1))
    side = int(np.ceil(atoms ** (1 / 3)))
    sites = np.array(list(np.ndindex(side, side, side)))[:atoms] / side
    positions = (sites + rng.uniform(0, 0.3 / side, sites.shape)) @ cell
    widths = rng.choice([0.31, 0.66, 0.76, 1.22], atoms)
    return positions, widths, cell, rng.normal(0, 3, atoms), np.full(atoms, 14.4)


def published(positions, widths, cell, chi, hardness, plan):
    def energy(q, positions):
        return q @ coulomb_operator(widths, positions, cell, plan=plan)(q) / 2

    def total(positions):
        n = len(chi)
        bordered = jnp.ones((n + 1, n + 1), chi.dtype).at[n, n].set(0.0)
        hessian = jax.hessian(energy)(jnp.zeros_like(chi), positions)
        bordered = bordered.at[:n, :n].set(hessian + jnp.diag(hardness))
        rhs = jnp.concatenate([-chi, jnp.zeros(1, chi.dtype)])
        q = jnp.linalg.solve(bordered, rhs)[:n]
        return energy(q, positions), q

    return jax.value_and_grad(total, has_aux=True)(positions)


def this_package(positions, widths, cell, chi, hardness, plan):
    def total(positions):
        coulomb = coulomb_sums(widths, positions, cell, plan=plan)
        q = equilibrate(chi, hardness, coulomb, 0.0)
        return q @ coulomb(q) / 2, q

    return jax.value_and_grad(total, has_aux=True)(positions)


def seconds(function, arguments):
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def compare(atoms, repeats):
    *arrays, chi, hardness = structure(atoms)
    positions, widths, cell = arrays
    inputs = tuple(map(jnp.asarray, (*arrays, chi, hardness)))
    mesh = ParticleMesh.for_structures(cell, positions, width_max=1.25, skin=0.0)
    plan = Ewald.for_structures(
        cell, positions, tolerance=1e-6, width_bounds=(0.1, 1.25)
    )
    calls = (
        (jax.jit(published), (*inputs, mesh)),
        (jax.jit(this_package), (*inputs, plan)),
    )
    results = [function(*arguments) for function, arguments in calls]
    (_, charges), forces = results[0]
    (_, exact_charges), exact_forces = results[1]
    charge_error = jnp.max(jnp.abs(charges - exact_charges))
    force_error = jnp.max(jnp.abs(forces - exact_forces))
    times = [[seconds(*call) for call in calls] for _ in range(repeats)]
    slow, fast = (statistics.median(t) for t in zip(*times, strict=True))
    print(
        f"{atoms:6d} {1e3 * slow:14.1f} {1e3 * fast:13.1f} {slow / fast:8.1f}"
        f" {charge_error:12.1e} {force_error:12.1e}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small structure")
    parser.add_argument("--float64", action="store_true")
    options = parser.parse_args()
    print(" atoms  published (ms)  package (ms)    ratio   |dq| (e)   |dF| (eV/Å)")
    with jax.enable_x64(options.float64):
        for atoms in (32,) if options.quick else (100, 200):
            compare(atoms, 3 if options.quick else 15)


if __name__ == "__main__":
    main()
