"""A small local model with and without the layer, with the same number of parameters.

Two potentials of the paper: `cluster`, 32 identical atoms within 5 Å of a center,
E = sum over pairs of 2 (r^-6 - r^-1), and `two-atoms`, E = 12/11 (r^-12 - r^-1) from 1
to 10 Å. The model has two message-passing steps with a cutoff of 3 Å. Compared are the
errors on test structures of (a) the local model, widened to the same number of
parameters, and (b) the model with Euclidean fast attention before each step, both
trained in the same way. A row is printed after every tenth of the training.

    python separation.py cluster
    python separation.py two-atoms
"""

import argparse
import dataclasses
import math
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from lr_efa import EuclideanFastAttention

CUTOFF, NUM_NEIGHBORS, BASIS, ROUNDS = 3.0, 16, 24, 2
OMEGA_MAX, RATE = 2.0, 3e-3


@dataclasses.dataclass(frozen=True)
class Task:
    """A pair energy, a sampler of positions and the training settings."""

    pair_energy: Callable
    sample: Callable
    batch: int
    epochs: int


def sample_clusters(rng, count, atoms=32, radius=5.0, closest=1.2):
    """Positions uniform in a ball, with a minimum distance between atoms."""
    positions = np.full((count, atoms, 3), np.inf)
    for structure in positions:
        placed = 0
        while placed < atoms:
            point = rng.uniform(-radius, radius, 3)
            free = np.linalg.norm(structure[:placed] - point, axis=1) > closest
            if np.linalg.norm(point) < radius and free.all():
                structure[placed] = point
                placed += 1
    return positions


def sample_pairs(rng, count):
    separation = rng.normal(size=(count, 3))
    separation *= (
        rng.uniform(1, 10, (count, 1)) / np.linalg.norm(separation, axis=1)[:, None]
    )
    return np.stack([0 * separation, separation], axis=1)


TASKS = {
    "cluster": Task(lambda r: 2 * (r**-6 - 1 / r), sample_clusters, 16, 20),
    "two-atoms": Task(lambda r: 12 / 11 * (r**-12 - 1 / r), sample_pairs, 50, 800),
}


def distances(positions):
    separation = positions[:, None] - positions[None]
    same = jnp.eye(len(positions))
    return jnp.sqrt(jnp.sum(separation**2, axis=-1) + same)


def labels(task, positions):
    """Energies and forces."""

    def energy(positions):
        separation = distances(positions)
        return 0.5 * jnp.sum(
            jnp.where(jnp.eye(len(separation)), 0, task.pair_energy(separation))
        )

    energies, slopes = jax.vmap(jax.value_and_grad(energy))(positions)
    return positions, energies, -slopes


def neighbors(positions, count):
    """Distances and indices of the nearest atoms; excludes the atom itself."""
    separation = distances(positions) + 2 * CUTOFF * jnp.eye(len(positions))
    negative, indices = jax.lax.top_k(-separation, count)
    return -negative, indices


class Perceptron(eqx.Module):
    """Sum of a linear map and a network with one hidden layer."""

    linear: eqx.nn.Linear
    hidden: eqx.nn.MLP

    def __init__(self, inputs, outputs, channels, keys):
        self.linear = eqx.nn.Linear(inputs, outputs, key=next(keys))
        silu, key = jax.nn.silu, next(keys)
        self.hidden = eqx.nn.MLP(inputs, outputs, channels, 1, silu, key=key)

    def __call__(self, x):
        """Returns the sum of both."""
        return self.linear(x) + self.hidden(x)


class Model(eqx.Module):
    """Message passing within the cutoff and a sum of atomic energies."""

    embedding: jax.Array
    filters: list[Perceptron]
    updates: list[Perceptron]
    attention: list[EuclideanFastAttention]
    readout: Perceptron

    def __init__(self, channels, *, with_attention, key):
        keys = iter(jr.split(key, 30))
        self.embedding = jr.normal(next(keys), (channels,))
        self.filters = [
            Perceptron(BASIS, channels, channels, keys) for _ in range(ROUNDS)
        ]
        self.updates = [
            Perceptron(2 * channels, channels, channels, keys) for _ in range(ROUNDS)
        ]
        self.attention = [
            EuclideanFastAttention(channels, omega_max=OMEGA_MAX, key=next(keys))
            for _ in range(ROUNDS if with_attention else 0)
        ]
        self.readout = Perceptron(channels, "scalar", channels, keys)

    def __call__(self, positions):
        """Returns the energy."""
        atoms = len(positions)
        separation, near = neighbors(positions, min(atoms, NUM_NEIGHBORS))
        x = jnp.minimum(separation / CUTOFF, 1.0)[..., None]
        envelope = (1 - x) ** 3 * (1 + 3 * x + 6 * x**2)
        orders = jnp.arange(1, BASIS + 1) * math.pi
        basis = jnp.sin(orders * x) / separation[..., None] * envelope
        features = jnp.broadcast_to(self.embedding, (atoms, len(self.embedding)))
        mask = jnp.ones(atoms, bool)
        for i in range(ROUNDS):
            if self.attention:
                features += self.attention[i](features, positions, None, mask)[0]
            gates = jax.vmap(jax.vmap(self.filters[i]))(basis) * envelope
            messages = jnp.sum(gates * features[near], axis=1)
            both = jnp.concatenate([features, messages], axis=1)
            features = features + jax.vmap(self.updates[i])(both)
        return jnp.sum(jax.vmap(self.readout)(features))


def predict(model, positions):
    energies, slopes = jax.vmap(jax.value_and_grad(model))(positions)
    return energies, -slopes


def size(model):
    return sum(x.size for x in jax.tree.leaves(eqx.filter(model, eqx.is_array)))


def pair_of_models(channels, key):
    """The model with attention, and the local model of the most similar size."""
    make = lambda channels, with_attention: Model(
        channels, with_attention=with_attention, key=key
    )
    with_attention = make(channels, True)
    difference = lambda channels: abs(
        size(make(channels, False)) - size(with_attention)
    )
    local = make(min(range(channels, 3 * channels), key=difference), False)
    return {"local": local, "attention": with_attention}


def adam_step(arrays, moments, gradient, count, rate):
    """One step of Adam with decay rates 0.9 and 0.99."""
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda m, g: 0.99 * m + 0.01 * g * g, moments[1], gradient)
    change = lambda x, m, v: (
        x - rate * m / (1 - 0.9**count) / (jnp.sqrt(v / (1 - 0.99**count)) + 1e-8)
    )
    return jax.tree.map(change, arrays, first, second), (first, second)


class Fit:
    """Training of a model, in units of the root mean square force."""

    def __init__(self, model, train, batch):
        self.scale, self.shift = jnp.std(train[2]), jnp.mean(train[1])
        self.arrays, static = eqx.partition(model, eqx.is_inexact_array)
        zeros = jax.tree.map(jnp.zeros_like, self.arrays)
        self.moments, self.count, self.seconds = (zeros, zeros), 1, 0.0
        self.train, self.epochs = train, 0

        def loss(arrays, sample):
            positions, energies, forces = sample
            predicted, predicted_forces = predict(
                eqx.combine(arrays, static), positions
            )
            error = (
                predicted - (energies - self.shift) / self.scale
            ) / positions.shape[1]
            return jnp.mean((predicted_forces - forces / self.scale) ** 2) + jnp.mean(
                error**2
            )

        @jax.jit
        def epoch(arrays, moments, count, rate, train, key):
            def step(carry, chosen):
                arrays, moments, count = carry
                sample = jax.tree.map(lambda x: x[chosen], train)
                value, gradient = jax.value_and_grad(loss)(arrays, sample)
                arrays, moments = adam_step(arrays, moments, gradient, count, rate)
                return (arrays, moments, count + 1), value

            order = jr.permutation(key, len(train[0]))
            order = order[: len(order) // batch * batch].reshape(-1, batch)
            return jax.lax.scan(step, (arrays, moments, count), order)

        self._epoch = epoch
        self._predict = jax.jit(lambda a, r: predict(eqx.combine(a, static), r))

    def epoch(self, last):
        """Trains for one epoch; the learning rate decreases to zero at the last one."""
        start = time.process_time()
        rate = RATE / 2 * (1 + math.cos(math.pi * self.epochs / last))
        state = self.arrays, self.moments, jnp.asarray(self.count, float)
        state, _ = self._epoch(*state, rate, self.train, jr.key(self.epochs))
        self.arrays, self.moments, self.count = jax.block_until_ready(state)
        self.epochs += 1
        self.seconds += time.process_time() - start

    def errors(self, test):
        """Returns mean absolute and root mean square errors of energies and forces."""
        predicted = self._predict(self.arrays, test[0])
        energy = predicted[0] * self.scale + self.shift - test[1]
        force = predicted[1] * self.scale - test[2]
        mean = lambda x: float(jnp.mean(jnp.abs(x)))
        root = lambda x: float(jnp.sqrt(jnp.mean(x**2)))
        return mean(energy), root(energy), mean(force), root(force)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--epochs", type=int, help="default: as in the README")
    parser.add_argument(
        "--structures", type=int, default=2000, help="of the training set"
    )
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3 epochs, 200 structures")
    options = parser.parse_args()
    if options.quick:
        options.epochs, options.structures = 3, 200
    task, rng = TASKS[options.task], np.random.default_rng(options.seed)
    last = options.epochs or task.epochs
    with jax.enable_x64(True):
        parts = [
            labels(task, jnp.asarray(task.sample(rng, count)))
            for count in (options.structures, 500)
        ]
    train, test = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), parts)
    counts = jax.vmap(lambda r: jnp.sum(distances(r) < CUTOFF, axis=1) - 1)(train[0])
    print(f"{options.task}: {options.structures} structures, {last} epochs")
    print(f"rms force {float(jnp.std(test[2])):.3f} eV/A, {len(test[0])} to test on")
    print(f"at most {int(counts.max())} neighbors, {NUM_NEIGHBORS} allowed")
    models = pair_of_models(options.channels, jr.key(options.seed))
    fits = {name: Fit(model, train, task.batch) for name, model in models.items()}
    head = f"{'model':<10} {'weights':>8} {'epochs':>7} {'cpu min':>7}"
    print(head, f"{'E MAE':>9} {'E RMSE':>9} {'F MAE':>9} {'F RMSE':>9}", flush=True)
    for epoch in range(last):
        for name, fit in fits.items():
            fit.epoch(last)
            if (epoch + 1) % max(1, last // 10) == 0:
                values = " ".join(f"{x:9.2e}" for x in fit.errors(test))
                row = f"{name:<10} {size(models[name]):>8} {fit.epochs:>7}"
                print(row, f"{fit.seconds / 60:7.1f} {values}", flush=True)
    force = {name: fit.errors(test)[3] for name, fit in fits.items()}
    ratio = force["local"] / force["attention"]
    print(f"ratio of force errors, local / attention: {ratio:.1f}")


if __name__ == "__main__":
    main()
