# /// script
# requires-python = ">=3.12"
# dependencies = ["mlip==0.2.5"]
# ///
"""Process of `time_to_accuracy.py` that runs the training loop of mlip."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mlip.data.chemical_systems_readers.chemical_systems_reader import (
    ChemicalSystemsReader,
)
from mlip.data.graph_dataset_builder import GraphDatasetBuilder
from mlip.data.helpers.dynamically_batch import dynamically_batch
from mlip.models.loss import MSELoss
from mlip.training import TrainingLoop, get_default_mlip_optimizer
from mlip.training.ema import get_debiased_params
from mlip_side import make_force_field
from mlip_training import graphs_of, systems_of
from recording import Recorder, load
from serving import settings


class ArrayReader(ChemicalSystemsReader):
    """Reader of the arrays of one part of the split."""

    def __init__(self, data):
        super().__init__(filepaths=[])
        self.data = data

    def load(self):
        """Returns the structures."""
        return systems_of(self.data)

    def _read_file(self, filepath):
        raise NotImplementedError(filepath)


def make_loss(recipe, epochs):
    """Returns the loss, whose weights change after a share of the epochs."""
    flip = round(recipe["flip"] * epochs)
    schedule = lambda weights: optax.piecewise_constant_schedule(
        weights[0], {flip: weights[1] / weights[0]}
    )
    return MSELoss(
        schedule(recipe["energy_weights"]), schedule(recipe["force_weights"])
    )


class Predictor:
    """Predicts energies and forces of one part of the split."""

    def __init__(self, given, force_field, part):
        graphs = graphs_of(load(given, part), given["cutoff"])
        sizes = [[len(g.nodes.positions), len(g.senders)] for g in graphs]
        nodes, edges = 8 * np.max(sizes, 0)
        padded = {"n_node": int(nodes) + 1, "n_edge": int(edges) + 1, "n_graph": 9}
        self.graphs = list(dynamically_batch(graphs, **padded))
        apply = force_field.predictor.apply
        self.apply = jax.jit(lambda params, graph: apply(params, graph).to_prediction())

    def __call__(self, params):
        """Returns relative energies, eV, and forces of all atoms, eV/Å."""
        energies, forces = [], []
        for graph in self.graphs:
            out = self.apply(params, jax.tree.map(jnp.asarray, graph))
            energies.append(np.asarray(out.energy)[np.asarray(graph.graph_mask())])
            forces.append(np.asarray(out.forces)[np.asarray(graph.node_mask())])
        return np.concatenate(energies), np.concatenate(forces)


def main():
    given = settings()
    recorder = Recorder(given)

    def train(epochs):
        readers = {
            split: ArrayReader(load(given, part))
            for split, part in (("train", "train"), ("valid", "validation"))
        }
        config = GraphDatasetBuilder.Config(
            graph_cutoff_angstrom=given["cutoff"],
            batch_size=given["recipe"]["batch_size"],
        )
        datasets = GraphDatasetBuilder(readers, config).get_datasets()
        force_field = make_force_field(given)
        count = sum(x.size for x in jax.tree.leaves(force_field.params))
        recorder.properties["parameters"] = count
        loop = TrainingLoop(
            train_dataset=datasets["train"],
            validation_dataset=datasets["valid"],
            force_field=force_field,
            loss=make_loss(given["recipe"], epochs),
            optimizer=get_default_mlip_optimizer(),
            config=TrainingLoop.Config(num_epochs=epochs, random_seed=given["seed"]),
        )
        recorder.steps_per_epoch = loop.steps_per_epoch
        validate = Predictor(given, force_field, "validation")
        average = lambda state: get_debiased_params(
            state.ema_state, loop.config.ema_decay
        )
        step = loop.training_step

        def recorded_step(*args):
            take = lambda: jax.block_until_ready(step(*args))
            return recorder.step(take, lambda result: validate(average(result[0])))

        loop.training_step = recorded_step
        loop._run_evaluation = recorder.untimed(loop._run_evaluation)
        loop.run()
        predict = lambda: validate(average(loop.training_state))
        test = Predictor(given, force_field, "test")
        return predict, lambda: test(loop.best_model.params)

    recorder.run(train)


if __name__ == "__main__":
    main()
