"""Errors of the mesh by order and spacing, from which `mesh` takes its rules.

Forty random charges in a triclinic cell, five draws, float64: root mean square error of
the energy over that of each charge with itself, and of the forces over themselves,
against the sum over vectors at 1e-12.

    uv run python packages/lr-les/benchmarks/accuracy_of_meshes.py [--quick]
"""

import argparse
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from lr_les import energy, k_grid, mesh

CELL = np.array([[14.0, 0.3, 0], [2.0, 13.0, 0], [-3.0, 4.0, 15.0]])


@jax.jit
def evaluated(q, r, grid):
    def total(r):
        return jnp.sum(energy(q, r, jnp.asarray(CELL), grid=grid))

    return jax.value_and_grad(total)(r)


def errors(order, spacing, draws):
    rng, found = np.random.default_rng(0), []
    shape = tuple(int(np.ceil(x / spacing)) for x in np.linalg.norm(CELL, axis=1))
    plan = dataclasses.replace(mesh(CELL), shape=shape, order=order)
    for _ in range(draws):
        q = jnp.asarray(rng.normal(size=40))
        r = jnp.asarray(rng.uniform(0, 14, (40, 3)))
        exact, forces = evaluated(q, r, k_grid(CELL, tolerance=1e-12))
        value, other = evaluated(q, r, plan)
        scale = 14.399645 * jnp.sum(q * q) / jnp.sqrt(2 * jnp.pi)
        off = jnp.linalg.norm(other - forces) / jnp.linalg.norm(forces)
        found.append([(value - exact) / scale, off])
    return np.sqrt(np.mean(np.square(found), axis=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two orders, one draw")
    quick = parser.parse_args().quick
    spacings = (0.45, 0.6) if quick else (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
    print("| order | " + " | ".join(f"{h} σ" for h in spacings) + " |")
    print("|---:|" + "---:|" * len(spacings))
    with jax.enable_x64(True):
        for order in (6, 8) if quick else (5, 6, 8, 10):
            row = [errors(order, h, 1 if quick else 5) for h in spacings]
            text = " | ".join(f"{e:.0e}, {f:.0e}" for e, f in row)
            print(f"| {order} | {text} |", flush=True)


if __name__ == "__main__":
    main()
