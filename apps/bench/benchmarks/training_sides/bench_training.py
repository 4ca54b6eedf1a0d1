"""Process of `training_speed.py` that runs the training loop of `bench run`."""

from pathlib import Path

import jax
import numpy as np
from backbones import parameter_count
from bench.batches.loading import batch_dataset
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies
from bench.model.building import build_potential
from bench.settings.grid import Grid
from bench.training.optimizer import make_optimizer
from bench.training.steps import device_mesh, replicate, step_inputs
from bench.training.update import initial_state, train_step
from serving import serve, settings


def main():
    given = settings()
    fixed = ("num_bessel", "envelope_exponent", "readout_width")
    size = {k: v for k, v in given["size"].items() if k not in fixed}
    values = {
        "dataset": str(Path(given["folder"]) / "structures.extxyz"),
        "long_range": ["none"],
        "model": {"cutoff": given["cutoff"], "mace": size},
        "train": {"batch_size": given["batch"], "learning_rate": given["rate"]},
    }
    values["train"] |= {"devices": 1, "loss": {"charge": 0.0}}
    grid = Grid(**values)
    data, run = load_for_training(grid.dataset), grid.runs()[0]
    atomic_energies = fit_atomic_energies(data)
    potential = build_potential(
        grid.model,
        run,
        atomic_energies,
        avg_num_neighbors=given["avg_num_neighbors"],
        scale=1.0,
    )
    batched = batch_dataset(data, potential.backbone, batch_size=given["batch"])
    batched = batched.with_atomic_energies(atomic_energies)
    mesh, optimizer = device_mesh(grid.train), make_optimizer(grid.train, 10**6)
    state = replicate(initial_state(potential, optimizer), mesh)
    progress = {"state": state, "pass": 0}
    phase, members = grid.train.schedule[0], np.arange(len(data))

    def make_batches():
        rng = np.random.default_rng(progress["pass"])
        return step_inputs(batched, members, rng, grid.train, mesh)

    prebuilt = list(make_batches())

    def train(batches):
        state = progress["state"]
        for inputs in batches:
            state, value = train_step(
                inputs, state, optimizer, phase, grid.train.ema_decay, mesh
            )
        jax.block_until_ready((state, value))
        progress["state"], progress["pass"] = state, progress["pass"] + 1

    tasks = {"train": lambda: train(make_batches()), "step": lambda: train(prebuilt)}
    serve(tasks, {"parameters": parameter_count(potential)})


if __name__ == "__main__":
    main()
