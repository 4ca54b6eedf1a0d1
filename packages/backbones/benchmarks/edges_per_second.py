"""Edges per second of MACE, Allegro and DimeNet++ on the same structure.

They have the sizes of the published benchmark (64, 64 and 128 channels) and run in
float32 on one periodic structure. Each round times every backbone once, so that changes
in the load affect all alike; the medians over the rounds are reported. "evaluate" is
energy, forces and stress, "train" the gradient of a force and energy loss with respect
to all parameters. Compilation is timed separately, without the persistent cache.

    uv run python packages/backbones/benchmarks/edges_per_second.py [--quick]
"""

import argparse
import statistics
import time

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

ELEMENTS = (1, 6, 8, 30)


def crystal(side: int) -> bb.Structure:
    """Returns a distorted lattice, with about 34 neighbors per atom within 4.5 Å."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[range(side)] * 3), -1).reshape(-1, 3)
    spacing = 2.11
    positions = spacing * (grid + 0.2 * rng.uniform(size=grid.shape))
    numbers = rng.choice(ELEMENTS, len(grid))
    return bb.Structure(numbers, positions, spacing * side * np.eye(3))


def potentials(avg_num_neighbors: float) -> dict[str, bb.Potential]:
    """Returns the three backbones with their published sizes."""
    shared = {"cutoff": 4.5, "avg_num_neighbors": avg_num_neighbors, "key": jr.key(0)}
    backbones = {
        "MACE": bb.MACE(ELEMENTS, bb.MACESize(), **shared),
        "Allegro": bb.Allegro(ELEMENTS, bb.AllegroSize(), **shared),
        "DimeNet++": bb.DimeNet(ELEMENTS, bb.DimeNetSize(), **shared),
    }
    atomic_energies = dict.fromkeys(ELEMENTS, 0.0)
    return {name: bb.Potential(b, atomic_energies) for name, b in backbones.items()}


@eqx.filter_jit
def evaluate(potential, batch):
    return potential(batch)


@eqx.filter_jit
@eqx.filter_grad
def train(potential, batch):
    out = potential(batch)
    return jnp.sum(out.forces**2) + jnp.sum(out.energy**2)


def seconds(task, *arguments) -> float:
    start = time.perf_counter()
    jax.block_until_ready(task(*arguments))
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 atoms, 3 rounds")
    quick = parser.parse_args().quick
    jax.config.update("jax_enable_compilation_cache", False)
    structure = crystal(4 if quick else 6)
    pairs = len(bb.neighbors(structure.positions, structure.cell, 4.5))
    models = potentials(pairs / len(structure))
    batches, first = {}, {}
    for name, potential in models.items():
        (bucket,) = bb.pack(
            [structure],
            cutoff=4.5,
            graphs=1,
            triplets=potential.backbone.needs_triplets,
        )
        batches[name] = bucket.batch([0])
        if bucket.has_triplets:
            print(f"{bucket.sizes.triplets} triplets per batch of {name}")
        for task in (evaluate, train):
            first[name, task] = seconds(task, potential, batches[name])
    times = {key: [] for key in first}
    for _ in range(3 if quick else 7):
        for name, task in times:
            times[name, task].append(seconds(task, models[name], batches[name]))
    print(f"{len(structure)} atoms, {pairs} edges, {jax.default_backend()}, float32")
    header = (
        f"{'backbone':<10} {'parameters':>10} {'task':<8} {'compile':>8} {'median':>9}"
    )
    print(header + f" {'edges/s':>10} {'vs MACE':>8}")
    for (name, task), values in times.items():
        label = "evaluate" if task is evaluate else "train"
        median = statistics.median(values)
        mace = statistics.median(times["MACE", task])
        print(
            f"{name:<10} {bb.parameter_count(models[name]):>10} {label:<8} "
            f"{first[name, task] - median:>7.1f}s {1e3 * median:>7.0f}ms "
            f"{pairs / median:>10.0f} {mace / median:>8.2f}"
        )


if __name__ == "__main__":
    main()
