# /// script
# requires-python = ">=3.12"
# dependencies = ["mace-torch==0.3.16"]
# ///
"""The mace-torch side of `mace_speed.py`, in its own environment.

It writes its weights, energy and forces in float64 for the comparison.
"""

import json

import numpy as np
import torch
from mace import data as mace_data
from mace import modules
from mace.modules.models import o3
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.scripts_utils import convert_to_json_format, extract_config_mace_model
from serving import serve, settings


def make_model(config):
    """Returns the model; `training_speed.py` of `bench` uses it too."""
    size = config["size"]
    hidden = " + ".join(
        f"{size['channels']}x{degree}{'eo'[degree % 2]}"
        for degree in range(size["hidden_degree"] + 1)
    )
    blocks = modules.interaction_classes
    return modules.ScaleShiftMACE(
        r_max=config["cutoff"],
        num_bessel=size["num_bessel"],
        num_polynomial_cutoff=size["envelope_exponent"],
        max_ell=size["l_max"],
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=size["num_interactions"],
        num_elements=len(config["elements"]),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps(f"{size['readout_width']}x0e"),
        atomic_energies=np.zeros(len(config["elements"])),
        avg_num_neighbors=config["avg_num_neighbors"],
        atomic_numbers=config["elements"],
        correlation=size["correlation"],
        gate=torch.nn.functional.silu,
        radial_MLP=size["radial_mlp"],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def make_batch(config):
    with np.load(config["structure"]) as file:
        structure = mace_data.Configuration(
            atomic_numbers=file["numbers"],
            positions=file["positions"],
            cell=file["cell"],
            pbc=(True, True, True),
            properties={},
            property_weights={},
        )
    atoms = mace_data.AtomicData.from_config(
        structure,
        z_table=AtomicNumberTable(config["elements"]),
        cutoff=config["cutoff"],
    )
    loader = torch_geometric.dataloader.DataLoader([atoms], batch_size=1)
    return next(iter(loader)).to_dict()


def write_parity(config, path):
    """Writes weights, settings, energy and forces in float64."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = make_model(config)
    out = model(make_batch(config))
    state = {f"sd/{k}": v.numpy() for k, v in model.state_dict().items()}
    results = {k: out[k].detach().numpy() for k in ("energy", "forces")}
    model_settings = convert_to_json_format(extract_config_mace_model(model))
    np.savez(path, settings=json.dumps(model_settings), **state, **results)


def main():
    config = settings()
    write_parity(config, config["parity"])
    torch.set_default_dtype(torch.float32)
    model, batch = make_model(config), make_batch(config)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=config["rate"])

    def train():
        optimizer.zero_grad()
        out = model(batch, training=True)
        loss = (out["forces"] ** 2).sum() + (out["energy"] ** 2).sum()
        loss.backward()
        optimizer.step()

    tasks = {"evaluate": lambda: model(batch), "train": train}
    count = sum(p.numel() for p in trainable)
    serve(tasks, {"parameters": count, "edges": batch["edge_index"].shape[1]})


if __name__ == "__main__":
    main()
