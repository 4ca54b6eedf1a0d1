"""Cost of the periodic form in training: matrix products or rotary phases per vector.

Compared, for the same crystals in float32, are (a) the periodic form of the package, in
which waves are shared by all channels and each frequency has its own vectors, and (b)
an alternative in which queries and keys are rotated by every wave, for all frequencies
and all vectors, in rematerialized chunks. Timed are one evaluation and one training
step: the gradient of a force loss with respect to the weights of queries, keys, values
and output, with features that depend on positions. Frequencies up to 2 per Å, shells of
0.15 per Å, D_qk = D_v = 16, vmap over the structures of a batch. Memory is the
temporary storage that the compiler reports.

    python training.py
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from lr_efa import ShellGrid, attend, frequency_grid
from lr_efa._lattice import reciprocal
from lr_efa._shell_weights import weighted_waves
from lr_efa._waves import RotaryPhases, attend_with_waves

OMEGAS, THICKNESS, CHANNELS, QK, V = frequency_grid(8, 2.0), 0.15, 32, 16, 16
SHELLS = {"frequencies": OMEGAS, "shell_thickness": THICKNESS}


def matrix_products(query, key, value, positions, cell, plan):
    return attend(query, key, value, positions, cell, **SHELLS, plan=plan)


def rotary_phases(query, key, value, positions, cell, plan):
    dual, volume = reciprocal(cell)
    waves = weighted_waves(plan, dual, OMEGAS, THICKNESS, jnp.ones((1, 1, 1)))
    phases = 2 * np.pi * jnp.matmul(positions, dual.T, precision="highest")
    arrays = (x[:, None] for x in (query, key, value))
    attended = attend_with_waves(*arrays, RotaryPhases(phases[:, None], None), waves)
    return attended[:, 0] * (2 * np.pi) ** 3 / (volume * QK**0.5)


FORMS = {"rotary phases": rotary_phases, "matrix products": matrix_products}


def energy(form, weights, positions, cell, plan):
    embedding, query, key, value, output = weights
    features = jnp.sin(positions @ embedding)
    q, k = jax.nn.gelu(features @ query), jax.nn.gelu(features @ key)
    attended = form(q, k, features @ value, positions, cell, plan)
    return jnp.sum((features + 1e-3 * attended @ output) ** 2)


def programs(form, arguments):
    """One evaluation and one training step, compiled."""

    def energies(weights, *structures):
        return jax.vmap(lambda *s: energy(form, weights, *s))(*structures)

    def loss(weights, *structures):
        slope = jax.grad(lambda *s: energy(form, weights, *s))
        return jnp.mean(jax.vmap(slope)(*structures) ** 2)

    compiled = lambda f: jax.jit(f).lower(*arguments).compile()
    return compiled(energies), compiled(jax.value_and_grad(loss))


def crystals(graphs, atoms, edge):
    rng = np.random.default_rng(0)
    cells = edge * np.eye(3) + rng.uniform(-1, 1, (graphs, 3, 3))
    positions = rng.uniform(0, 1, (graphs, atoms, 3)) @ cells
    plan = ShellGrid.for_structures(cells, positions, **SHELLS)
    shapes = (3, CHANNELS), *[(CHANNELS, n) for n in (QK, QK, V)], (V, CHANNELS)
    keys = jr.split(jr.key(0), len(shapes))
    weights = [jr.normal(k, s) / s[0] ** 0.5 for k, s in zip(keys, shapes, strict=True)]
    return weights, jnp.asarray(positions, float), jnp.asarray(cells, float), plan


def milliseconds(runs, arguments, repeats):
    """Medians of CPU time, programs run alternately."""
    times = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            jax.block_until_ready(run(*arguments))
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(x[1:]) for name, x in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one batch, once")
    quick = parser.parse_args().quick
    head = f"{'graphs':>6} {'atoms':>5} {'vectors':>7} {'form':<17}"
    print(head, "evaluation  training step (CPU ms per atom)  step MB")
    cases = ((8, 30, 11.0), (8, 60, 13.0), (4, 110, 16.0))
    for graphs, atoms, edge in cases[:1] if quick else cases:
        arguments = crystals(graphs, atoms, edge)
        vectors = arguments[3].indices.shape[1]
        both = {name: programs(form, arguments) for name, form in FORMS.items()}
        medians = [
            milliseconds(
                {n: p[i] for n, p in both.items()}, arguments, 1 if quick else 5
            )
            for i in range(2)
        ]
        left, right = (run[1](*arguments)[1] for run in both.values())
        scale = max(float(jnp.max(jnp.abs(x))) for x in left)
        pairs = zip(left, right, strict=True)
        error = max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs) / scale
        for name, (_, step) in both.items():
            memory = step.memory_analysis().temp_size_in_bytes / 1e6
            row = f"{graphs:6} {atoms:5} {vectors:7} {name:<17}"
            each = [x[name] / (graphs * atoms) for x in medians]
            print(row, f"{each[0]:10.3f} {each[1]:13.3f} {memory:36.0f}", flush=True)
        ratio = [x["rotary phases"] / x["matrix products"] for x in medians]
        row = f"{'':20} {'ratio':<17} {ratio[0]:10.1f} {ratio[1]:13.1f}"
        print(row, f"   gradients differ by {error:.0e}", flush=True)


if __name__ == "__main__":
    main()
