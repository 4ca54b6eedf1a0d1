# /// script
# requires-python = ">=3.12"
# dependencies = ["mlip==0.2.5"]
# ///
"""The mlip side of `training_speed.py`, run in an environment of its own."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from answering import answer, settings
from mlip.data.chemical_system import ChemicalSystem
from mlip.data.helpers.dynamically_batch import dynamically_batch
from mlip.graph import Graph
from mlip_side import field_of


def batches_of(given):
    """Padded graphs with their labels; padding weighs nothing."""
    with np.load(Path(given["folder"]) / "structures.npz") as file:
        data = dict(file)
    cuts = np.cumsum(data["sizes"])[:-1]
    parts = {k: np.split(data[k], cuts) for k in ("numbers", "positions", "forces")}
    graphs = [
        Graph.from_chemical_system(
            ChemicalSystem(
                atomic_numbers=z,
                positions=r.astype(np.float32),
                pbc=(False, False, False),
            ),
            given["cutoff"],
        )
        for z, r in zip(parts["numbers"], parts["positions"], strict=True)
    ]
    size, found = given["batch"], []
    groups = [range(i, i + size) for i in range(0, len(graphs), size)]
    nodes = max(sum(data["sizes"][i] for i in g) for g in groups) + 1
    edges = max(sum(len(graphs[i].senders) for i in g) for g in groups) + 1
    room = {"n_node": int(nodes), "n_edge": int(edges), "n_graph": size + 1}
    for group in groups:
        graph = next(iter(dynamically_batch([graphs[i] for i in group], **room)))
        forces = np.zeros((nodes, 3), np.float32)
        there = np.concatenate([parts["forces"][i] for i in group])
        forces[: len(there)] = there
        energies = np.array([data["energies"][i] for i in group], np.float32)
        sizes = np.array([data["sizes"][i] for i in group], np.float32)
        labels = energies, sizes, forces, np.float32(len(there))
        found.append(jax.tree.map(jnp.asarray, (graph, labels)))
    return found


def main():
    given = settings()
    field = field_of(given)
    batches = batches_of(given)

    def loss(params, graph, labels):
        energies, sizes, forces, atoms = labels
        out = field.predictor.apply(params, graph).to_prediction()
        apart = (out.energy[: len(sizes)] - energies) / sizes
        there = jnp.arange(len(forces))[:, None] < atoms
        slopes = jnp.where(there, out.forces - forces, 0.0)
        return 10 * jnp.mean(apart**2) + jnp.sum(slopes**2) / (3 * atoms)

    optimiser = optax.adam(given["rate"])

    @jax.jit
    def step(params, state, graph, labels):
        updates, state = optimiser.update(jax.grad(loss)(params, graph, labels), state)
        return optax.apply_updates(params, updates), state

    kept = {"now": (field.params, optimiser.init(field.params))}

    def train():
        for graph, labels in batches:
            kept["now"] = step(*kept["now"], graph, labels)
        jax.block_until_ready(kept["now"])

    count = sum(x.size for x in jax.tree.leaves(field.params))
    answer({"train": train}, {"parameters": count})


if __name__ == "__main__":
    main()
