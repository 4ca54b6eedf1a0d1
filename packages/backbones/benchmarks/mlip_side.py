# /// script
# requires-python = ">=3.12"
# dependencies = ["mlip==0.2.5"]
# ///
"""The mlip side of `mace_speed.py`, in its own environment."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mlip.data import DatasetInfo
from mlip.data.chemical_system import ChemicalSystem
from mlip.data.helpers.dynamically_batch import dynamically_batch
from mlip.graph import Graph
from mlip.models import ForceField, Mace
from mlip.models.mace.config import MaceConfig
from serving import serve, settings


def make_graph(data, cutoff):
    """Returns the graph, padded by one atom and one edge, and its number of edges."""
    system = ChemicalSystem(
        atomic_numbers=data["numbers"],
        positions=data["positions"].astype(np.float32),
        cell=data["cell"].astype(np.float32),
        pbc=(True, True, True),
    )
    graph = Graph.from_chemical_system(system, cutoff)
    edges = len(graph.senders)
    sizes = {"n_node": len(data["numbers"]) + 1, "n_edge": edges + 1, "n_graph": 2}
    padded = next(iter(dynamically_batch([graph], **sizes)))
    return jax.tree.map(jnp.asarray, padded), edges


def make_force_field(config):
    """Returns the model; `training_speed.py` of `bench` uses it too."""
    size = config["size"]
    info = DatasetInfo(
        atomic_energies_map=dict.fromkeys(config["elements"], 0.0),
        graph_cutoff_angstrom=config["cutoff"],
        avg_num_neighbors=config["avg_num_neighbors"],
    )
    mace_config = MaceConfig(
        num_layers=size["num_interactions"],
        num_channels=size["channels"],
        l_max=size["l_max"],
        node_symmetry=size["hidden_degree"],
        correlation=size["correlation"],
        readout_irreps=(f"{size['readout_width']}x0e", "0e"),
        num_rbf=size["num_bessel"],
        radial_mlp_hidden=size["radial_mlp"],
    )
    return ForceField.from_mlip_network(Mace(mace_config, info))


def main():
    config = settings()
    with np.load(config["structure"]) as file:
        data = dict(file)
    force_field = make_force_field(config)
    graph, edges = make_graph(data, config["cutoff"])
    predict = lambda params: force_field.predictor.apply(params, graph).to_prediction()

    def loss(params):
        out = predict(params)
        return jnp.sum(out.forces**2) + jnp.sum(out.energy**2)

    optimizer = optax.adam(config["rate"])

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def evaluate(params):
        out = predict(params)
        return out.energy, out.forces

    state = {"current": (force_field.params, optimizer.init(force_field.params))}

    def train():
        state["current"] = jax.block_until_ready(step(*state["current"]))

    tasks = {
        "evaluate": lambda: jax.block_until_ready(evaluate(force_field.params)),
        "train": train,
    }
    count = sum(x.size for x in jax.tree.leaves(force_field.params))
    serve(tasks, {"parameters": count, "edges": edges})


if __name__ == "__main__":
    main()
