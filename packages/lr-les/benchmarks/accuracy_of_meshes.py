"""Errors of the mesh by order and spacing, for the rules of `Mesh`.

Forty random charges in a triclinic cell, five samples, float64: root mean square error
of the energy relative to the self energy, and of the forces relative to the forces,
compared with the sum over vectors at a tolerance of 1e-12.

    uv run python packages/lr-les/benchmarks/accuracy_of_meshes.py [--quick]
"""

import argparse
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from lr_les import KGrid, Mesh, energy

CELL = np.array([[14.0, 0.3, 0], [2.0, 13.0, 0], [-3.0, 4.0, 15.0]])


@jax.jit
def evaluated(q, r, plan):
    def total(r):
        return jnp.sum(energy(q, r, jnp.asarray(CELL), plan=plan))

    return jax.value_and_grad(total)(r)


def errors(order, spacing, samples):
    rng, relative = np.random.default_rng(0), []
    shape = tuple(int(np.ceil(x / spacing)) for x in np.linalg.norm(CELL, axis=1))
    atoms = np.zeros((40, 3))
    exact_plan = KGrid.for_structures(CELL, atoms, tolerance=1e-12)
    plan = Mesh.for_structures(CELL, atoms)
    plan = dataclasses.replace(plan, shape=shape, order=order)
    for _ in range(samples):
        q = jnp.asarray(rng.normal(size=40))
        r = jnp.asarray(rng.uniform(0, 14, (40, 3)))
        exact, forces = evaluated(q, r, exact_plan)
        value, forces_on_mesh = evaluated(q, r, plan)
        scale = 14.399645 * jnp.sum(q * q) / jnp.sqrt(2 * jnp.pi)
        force_error = jnp.linalg.norm(forces_on_mesh - forces) / jnp.linalg.norm(forces)
        relative.append([(value - exact) / scale, force_error])
    return np.sqrt(np.mean(np.square(relative), axis=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two orders, one sample")
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
