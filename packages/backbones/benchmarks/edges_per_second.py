"""MACE, Allegro and DimeNet++ on the same structure: edges a second.

All three at the sizes of the published benchmark (64, 64 and 128 channels), float32,
one periodic structure, in one run. Each round times every backbone once, so that all
see the same machine; medians over the rounds are compared with MACE's. "evaluate" is
energy, forces and stress, "train" the gradient of a force and energy loss with respect
to all parameters. Compilation is timed apart, with the persistent cache off.

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
    """About 34 neighbours an atom within 4.5 Å."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[range(side)] * 3), -1).reshape(-1, 3)
    spacing = 2.11
    positions = spacing * (grid + 0.2 * rng.uniform(size=grid.shape))
    numbers = rng.choice(ELEMENTS, len(grid))
    return bb.Structure(numbers, positions, spacing * side * np.eye(3))


def potentials(neighbours: float) -> dict[str, bb.Potential]:
    """The three backbones at their published sizes."""
    shared = {"cutoff": 4.5, "avg_num_neighbors": neighbours, "key": jr.key(0)}
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


def seconds(work, *arguments) -> float:
    start = time.perf_counter()
    jax.block_until_ready(work(*arguments))
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 atoms, 3 rounds")
    quick = parser.parse_args().quick
    jax.config.update("jax_enable_compilation_cache", False)
    structure = crystal(4 if quick else 6)
    pairs = len(bb.neighbors(structure, 4.5))
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
        if bucket.triplets:
            print(f"{bucket.triplets} triplets in a batch of {name}")
        for work in (evaluate, train):
            first[name, work] = seconds(work, potential, batches[name])
    taken = {key: [] for key in first}
    for _ in range(3 if quick else 7):
        for name, work in taken:
            taken[name, work].append(seconds(work, models[name], batches[name]))
    print(f"{len(structure)} atoms, {pairs} edges, {jax.default_backend()}, float32")
    head = (
        f"{'backbone':<10} {'parameters':>10} {'work':<8} {'compile':>8} {'median':>9}"
    )
    print(head + f" {'edges/s':>10} {'of MACE':>8}")
    for (name, work), times in taken.items():
        label = "evaluate" if work is evaluate else "train"
        median = statistics.median(times)
        mace = statistics.median(taken["MACE", work])
        print(
            f"{name:<10} {bb.parameter_count(models[name]):>10} {label:<8} "
            f"{first[name, work] - median:>7.1f}s {1e3 * median:>7.0f}ms "
            f"{pairs / median:>10.0f} {mace / median:>8.2f}"
        )


if __name__ == "__main__":
    main()
