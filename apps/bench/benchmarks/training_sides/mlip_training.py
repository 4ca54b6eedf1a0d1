# /// script
# requires-python = ">=3.12"
# dependencies = ["mlip==0.2.5"]
# ///
"""Process of `training_speed.py` that trains with mlip."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mlip.data.chemical_system import ChemicalSystem
from mlip.data.helpers.dynamically_batch import dynamically_batch
from mlip.graph import Graph
from mlip_side import make_force_field
from serving import serve, settings


def systems_of(data):
    """Returns the structures in arrays with their energies and forces."""
    ends = np.cumsum(data["sizes"])[:-1]
    arrays = (np.split(data[k], ends) for k in ("numbers", "positions", "forces"))
    return [
        ChemicalSystem(
            atomic_numbers=z,
            positions=r.astype(np.float32),
            forces=f.astype(np.float32),
            energy=float(energy),
            cell=cell.astype(np.float32) if cell.any() else None,
            pbc=(bool(cell.any()),) * 3,
        )
        for z, r, f, cell, energy in zip(
            *arrays, data["cells"], data["energies"], strict=True
        )
    ]


def graphs_of(data, cutoff):
    """Returns the graphs of the structures in arrays."""
    return [Graph.from_chemical_system(s, cutoff) for s in systems_of(data)]


def batches_of(given):
    """Returns padded graphs with labels; padding has no weight in the loss."""
    with np.load(Path(given["folder"]) / "structures.npz") as file:
        data = dict(file)
    graphs = graphs_of(data, given["cutoff"])
    structure_forces = np.split(data["forces"], np.cumsum(data["sizes"])[:-1])
    size, batches = given["batch"], []
    groups = [range(i, i + size) for i in range(0, len(graphs), size)]
    nodes = max(sum(data["sizes"][i] for i in g) for g in groups) + 1
    edges = max(sum(len(graphs[i].senders) for i in g) for g in groups) + 1
    padded_sizes = {"n_node": int(nodes), "n_edge": int(edges), "n_graph": size + 1}
    for group in groups:
        graph = next(
            iter(dynamically_batch([graphs[i] for i in group], **padded_sizes))
        )
        forces = np.zeros((nodes, 3), np.float32)
        real_forces = np.concatenate([structure_forces[i] for i in group])
        forces[: len(real_forces)] = real_forces
        energies = np.array([data["energies"][i] for i in group], np.float32)
        sizes = np.array([data["sizes"][i] for i in group], np.float32)
        labels = energies, sizes, forces, np.float32(len(real_forces))
        batches.append(jax.tree.map(jnp.asarray, (graph, labels)))
    return batches


def main():
    given = settings()
    field = make_force_field(given)
    batches = batches_of(given)

    def loss(params, graph, labels):
        energies, sizes, forces, n_atoms = labels
        out = field.predictor.apply(params, graph).to_prediction()
        energy_errors = (out.energy[: len(sizes)] - energies) / sizes
        mask = jnp.arange(len(forces))[:, None] < n_atoms
        force_errors = jnp.where(mask, out.forces - forces, 0.0)
        force_loss = jnp.sum(force_errors**2) / (3 * n_atoms)
        return 10 * jnp.mean(energy_errors**2) + force_loss

    optimizer = optax.adam(given["rate"])

    @jax.jit
    def step(params, state, graph, labels):
        updates, state = optimizer.update(jax.grad(loss)(params, graph, labels), state)
        return optax.apply_updates(params, updates), state

    progress = {"state": (field.params, optimizer.init(field.params))}

    def train():
        for graph, labels in batches:
            progress["state"] = step(*progress["state"], graph, labels)
        jax.block_until_ready(progress["state"])

    count = sum(x.size for x in jax.tree.leaves(field.params))
    serve({"train": train}, {"parameters": count})


if __name__ == "__main__":
    main()
