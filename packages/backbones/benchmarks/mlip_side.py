# /// script
# requires-python = ">=3.12"
# dependencies = ["mlip==0.2.5"]
# ///
"""The mlip side of `mace_speed.py`, run in an environment of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from answering import answer, settings
from mlip.data import DatasetInfo
from mlip.data.chemical_system import ChemicalSystem
from mlip.data.helpers.dynamically_batch import dynamically_batch
from mlip.graph import Graph
from mlip.models import ForceField, Mace
from mlip.models.mace.config import MaceConfig


def graph_of(data, cutoff):
    """The structure and the padding that mlip wants: one atom and one edge."""
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


def field_of(given):
    """The model, as `training_speed.py` of `bench` also trains it."""
    size = given["size"]
    info = DatasetInfo(
        atomic_energies_map=dict.fromkeys(given["elements"], 0.0),
        graph_cutoff_angstrom=given["cutoff"],
        avg_num_neighbors=given["avg_num_neighbors"],
    )
    config = MaceConfig(
        num_layers=size["num_interactions"],
        num_channels=size["channels"],
        l_max=size["l_max"],
        node_symmetry=size["hidden_degree"],
        correlation=size["correlation"],
        readout_irreps=(f"{size['readout_width']}x0e", "0e"),
        num_rbf=size["num_bessel"],
        radial_mlp_hidden=size["radial_mlp"],
    )
    return ForceField.from_mlip_network(Mace(config, info))


def main():
    given = settings()
    with np.load(given["structure"]) as file:
        data = dict(file)
    field = field_of(given)
    graph, edges = graph_of(data, given["cutoff"])
    predict = lambda params: field.predictor.apply(params, graph).to_prediction()

    def loss(params):
        out = predict(params)
        return jnp.sum(out.forces**2) + jnp.sum(out.energy**2)

    optimiser = optax.adam(given["rate"])

    @jax.jit
    def step(params, state):
        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def slopes(params):
        out = predict(params)
        return out.energy, out.forces

    kept = {"now": (field.params, optimiser.init(field.params))}

    def train():
        kept["now"] = jax.block_until_ready(step(*kept["now"]))

    works = {
        "evaluate": lambda: jax.block_until_ready(slopes(field.params)),
        "train": train,
    }
    count = sum(x.size for x in jax.tree.leaves(field.params))
    answer(works, {"parameters": count, "edges": edges})


if __name__ == "__main__":
    main()
