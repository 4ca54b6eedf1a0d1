"""Jumps of the energy in an expanding cell: smooth sum and published cutoff.

192 random charges (0.4 e root mean square) in a cubic cell of 12.4 Å that expands by
1 Å in 500 steps of 0.002 Å, float64. A jump is the change of the energy in a step minus
the integral of the derivative by the trapezoidal rule; for a smooth energy it is
proportional to the third power of the step.

    uv run python packages/lr-les/benchmarks/cell_expansion.py [--quick]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from lr_les import KGrid, Mesh, energy

LENGTH, STEP = 12.4, 0.002
PLANS = {
    "published cutoff, dl = 2 Å": (KGrid, {"dl": 2.0}),
    "published cutoff, dl = 1 Å": (KGrid, {"dl": 1.0}),
    "smooth, tolerance 1e-3": (KGrid, {"tolerance": 1e-3}),
    "smooth, tolerance 1e-6": (KGrid, {}),
    "mesh, tolerance 1e-5": (Mesh, {}),
}


def largest_jump(kind, options, steps):
    """Returns the largest jump and the initial energy, eV."""
    rng = np.random.default_rng(0)
    charges = 0.4 * rng.normal(size=192)
    q = jnp.asarray(charges - charges.mean())
    fractional = jnp.asarray(rng.uniform(0, 1, (192, 3)))

    cell = LENGTH * np.eye(3)
    plan = kind.for_structures(cell, LENGTH * fractional, margin=0.1, **options)

    def total(length):
        return jnp.sum(energy(q, length * fractional, length * jnp.eye(3), plan=plan))

    lengths = LENGTH + STEP * jnp.arange(steps + 1.0)
    evaluate = jax.jit(lambda: jax.lax.map(jax.value_and_grad(total), lengths))
    values, slopes = evaluate()
    jumps = jnp.diff(values) - STEP / 2 * (slopes[1:] + slopes[:-1])
    return float(jnp.max(jnp.abs(jumps))), float(values[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 steps")
    steps = 50 if parser.parse_args().quick else 500
    print("| sum | largest jump, meV | initial energy, eV |\n|---|---:|---:|")
    with jax.enable_x64(True):
        for name, (kind, options) in PLANS.items():
            jump, initial = largest_jump(kind, options, steps)
            print(f"| {name} | {1e3 * jump:.1e} | {initial:.6f} |", flush=True)


if __name__ == "__main__":
    main()
