"""Time of a training step on forces: the layer alone and in a small MACE.

Six frameworks of 48 to 84 atoms, 46 Å³ per atom, padded to 84, float32: the gradient
with respect to all parameters of a loss on energies, forces and charges. Variants that
alternate in one run: the layer alone; the same charges from the assembled matrix,
whose derivatives cost pairs times waves; a small MACE (16 channels, from `backbones`)
without and with the layer. Medians are printed.

    uv run packages/lr-celli/benchmarks/training_step.py [--quick]
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
from lr_celli import ChargeEquilibration, coulomb_matrix, equilibrate

ELEMENTS = (1, 6, 8, 30)


def framework(atoms, rng):
    edge = (46.0 * atoms) ** (1 / 3)
    cell = edge * (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3)))
    side = int(np.ceil(atoms ** (1 / 3)))
    sites = rng.permutation(np.array(list(np.ndindex(side, side, side))))[:atoms] / side
    positions = (sites + rng.uniform(0, 0.3 / side, sites.shape)) @ cell
    return bb.Structure(rng.choice(ELEMENTS, atoms), positions, cell)


def mace(layers):
    size = bb.MACESize(
        channels=16, hidden_degree=0, l_max=2, correlation=2, radial_mlp=(32, 32)
    )
    backbone = bb.MACE(
        ELEMENTS,
        size,
        cutoff=4.5,
        avg_num_neighbors=10.0,
        long_range=layers,
        charges="block 1" if layers else None,
        key=jr.key(0),
    )
    return bb.Potential(backbone, dict.fromkeys(ELEMENTS, 0.0))


class Assembled(eqx.Module):
    """The layer's charges and energies, computed from the assembled matrix."""

    layer: ChargeEquilibration

    def __call__(self, features, positions, cell, mask, *, species, total_charge, plan):
        """Returns the update, energies and charges."""
        width, layer = self.layer.width(species), self.layer
        matrix = lambda w: coulomb_matrix(w, positions, cell, plan=plan, mask=mask)
        chi, hardness = layer.electronegativity(features), layer.hardness(species)
        charges = equilibrate(chi, hardness, matrix(width), total_charge, mask=mask)
        energies = charges * (matrix(jax.lax.stop_gradient(width)) @ charges) / 2
        return layer.embedding(features, charges, species), energies, charges


@eqx.filter_jit
@eqx.filter_grad
def of_network(potential, batch):
    out = potential(batch)
    return jnp.sum(out.energy) ** 2 + jnp.sum(out.forces**2) + jnp.sum(out.charges**2)


@eqx.filter_jit
@eqx.filter_grad
def of_layer(layer, batch, features):
    plan = batch.plan["block 1"]
    properties = {"species": batch.species, "total_charge": batch.total_charge}

    def energy(features, positions):
        inputs = features, positions, batch.cell, batch.mask, properties, plan
        out = jax.vmap(
            lambda f, r, c, m, properties, p: layer(f, r, c, m, **properties, plan=p)
        )(*inputs)
        return jnp.sum(out[1]), out

    slope = jax.value_and_grad(energy, (0, 1), has_aux=True)
    (total, (update, _, charges)), slopes = slope(features, batch.positions)
    squares = jax.tree.map(lambda x: jnp.sum(x**2), (*slopes, update, charges))
    return total**2 + sum(squares)


def seconds(function, arguments):
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two structures")
    quick = parser.parse_args().quick
    rng = np.random.default_rng(0)
    sizes = (30, 40) if quick else (48, 55, 62, 70, 77, 84)
    structures = [framework(n, rng) for n in sizes]
    layer = ChargeEquilibration(16, hidden=(32, 32), key=jr.key(1))
    plain, with_layer = mace({}), mace({"block 1": layer})
    (bucket,) = bb.pack(
        structures,
        cutoff=4.5,
        graphs=len(sizes),
        plan_for=with_layer.backbone.plan_for,
    )
    batch = bucket.batch(range(len(sizes)))
    features = jr.normal(jr.key(2), (*batch.mask.shape, 16))
    calls = {
        "layer": (of_layer, (layer, batch, features)),
        "assembled": (of_layer, (Assembled(layer), batch, features)),
        "MACE": (of_network, (plain, batch)),
        "MACE with the layer": (of_network, (with_layer, batch)),
    }
    plan = batch.plan["block 1"]
    print(f"{plan.images.shape[1]} images, {plan.indices.shape[1]} wave vectors")
    times = {name: [] for name in calls}
    for repeat in range(4 if quick else 12):
        for name, call in calls.items():
            duration = seconds(*call)
            if repeat:
                times[name].append(duration)
    for name, durations in times.items():
        median = statistics.median(durations)
        print(
            f"{name:20s} {1e3 * median:8.1f} ms per step "
            f"{1e6 * median / sum(sizes):8.0f} µs per atom"
        )


if __name__ == "__main__":
    main()
