# /// script
# requires-python = ">=3.12"
# dependencies = ["mace-torch==0.3.16"]
# ///
"""Process of `time_to_accuracy.py` that runs `mace_run_train` of mace-torch."""

import contextlib
import importlib
import os
import tempfile
from pathlib import Path

# Checkpoints hold classes of e3nn, which `torch.load` must be allowed to build.
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import ase
import ase.io
import numpy as np
from mace import tools
from mace.cli import run_train
from mace.tools import torch_geometric
from mace_torch_training import graphs_of
from recording import Recorder, load
from serving import settings

# `mace.tools.train` is the function of that name.
training = importlib.import_module("mace.tools.train")


def write_extxyz(data, path):
    """Writes structures with the names of labels that mace-torch reads by default."""
    ends = np.cumsum(data["sizes"])[:-1]
    arrays = (np.split(data[k], ends) for k in ("numbers", "positions", "forces"))
    frames = []
    for z, r, f, cell, energy in zip(
        *arrays, data["cells"], data["energies"], strict=True
    ):
        atoms = ase.Atoms(z, r, cell=cell, pbc=bool(cell.any()))
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = float(energy), f
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


def flags(given, epochs, folder):
    """Returns the command line of `mace_run_train`."""
    size = given["size"]
    values = {
        "name": "side",
        "work_dir": folder,
        "train_file": f"{folder}/train.xyz",
        "valid_file": f"{folder}/validation.xyz",
        "E0s": str(dict.fromkeys(given["elements"], 0.0)),
        "r_max": given["cutoff"],
        "num_channels": size["channels"],
        "max_L": size["hidden_degree"],
        "max_ell": size["l_max"],
        "correlation": size["correlation"],
        "num_interactions": size["num_interactions"],
        "num_radial_basis": size["num_bessel"],
        "num_cutoff_basis": size["envelope_exponent"],
        "radial_MLP": str(size["radial_mlp"]),
        "MLP_irreps": f"{size['readout_width']}x0e",
        "max_num_epochs": epochs,
        "start_stage_two": round(given["recipe"]["stage_two"] * epochs),
        "seed": given["seed"],
        "device": "cpu",
        "plot": "False",
        **given["recipe"]["flags"],
    }
    switches = [f"--{name}" for name in given["recipe"]["switches"]]
    return [f"--{name}={value}" for name, value in values.items()] + switches


class Predictor:
    """Predicts energies and forces of one part of the split."""

    def __init__(self, given, part):
        data = load(given, part)
        graphs = graphs_of(data, given["elements"], given["cutoff"])
        self.loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=10)

    def __call__(self, model):
        """Returns relative energies, eV, and forces of all atoms, eV/Å."""
        outputs = [model(batch.to_dict(), training=False) for batch in self.loader]
        joined = [
            np.concatenate([out[key].detach().numpy() for out in outputs])
            for key in ("energy", "forces")
        ]
        return tuple(joined)


def main():
    given = settings()
    recorder = Recorder(given)

    def train(epochs):
        latest = {}
        take_step, train_one_epoch = training.take_step, training.train_one_epoch

        def predict(result=None):
            with latest["ema"].average_parameters():
                return latest["validation"](latest["model"])

        def recorded_step(**arguments):
            latest["model"], latest["ema"] = arguments["model"], arguments["ema"]
            return recorder.step(lambda: take_step(**arguments), predict)

        def counted_epoch(**arguments):
            recorder.steps_per_epoch = len(arguments["data_loader"])
            if "validation" not in latest:
                # After `run_train` has set the default type of numbers.
                latest["validation"] = Predictor(given, "validation")
                parameters = arguments["model"].parameters()
                count = sum(p.numel() for p in parameters if p.requires_grad)
                recorder.properties["parameters"] = count
            train_one_epoch(**arguments)

        def test_instead_of_table(model, **arguments):
            # Called after training, at last with the best weights of stage two.
            latest["test"] = Predictor(given, "test")(model)
            return "not made"

        training.take_step, training.train_one_epoch = recorded_step, counted_epoch
        training.evaluate = recorder.untimed(training.evaluate)
        run_train.create_error_table = test_instead_of_table
        with tempfile.TemporaryDirectory() as folder:
            for part in ("train", "validation"):
                write_extxyz(load(given, part), Path(folder) / f"{part}.xyz")
            line = flags(given, epochs, folder)
            arguments = tools.build_default_arg_parser().parse_args(line)
            with contextlib.chdir(folder):
                run_train.run(arguments)
        return predict, lambda: latest["test"]

    recorder.run(train)


if __name__ == "__main__":
    main()
