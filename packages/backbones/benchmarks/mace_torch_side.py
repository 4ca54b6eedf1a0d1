# /// script
# requires-python = ">=3.12"
# dependencies = ["mace-torch==0.3.16"]
# ///
"""The mace-torch side of `mace_speed.py`, run in an environment of its own.

Writes its weights, energy and forces in float64 for the other side to compare with.
"""

import json

import numpy as np
import torch
from answering import answer, settings
from mace import data as mace_data
from mace import modules
from mace.modules.models import o3
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.scripts_utils import convert_to_json_format, extract_config_mace_model


def model_of(given):
    """The model, as `training_speed.py` of `bench` also trains it."""
    size = given["size"]
    hidden = " + ".join(
        f"{size['channels']}x{degree}{'eo'[degree % 2]}"
        for degree in range(size["hidden_degree"] + 1)
    )
    blocks = modules.interaction_classes
    return modules.ScaleShiftMACE(
        r_max=given["cutoff"],
        num_bessel=size["num_bessel"],
        num_polynomial_cutoff=size["envelope_exponent"],
        max_ell=size["l_max"],
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=size["num_interactions"],
        num_elements=len(given["elements"]),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps(f"{size['readout_width']}x0e"),
        atomic_energies=np.zeros(len(given["elements"])),
        avg_num_neighbors=given["avg_num_neighbors"],
        atomic_numbers=given["elements"],
        correlation=size["correlation"],
        gate=torch.nn.functional.silu,
        radial_MLP=size["radial_mlp"],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def batch_of(given):
    with np.load(given["structure"]) as file:
        structure = mace_data.Configuration(
            atomic_numbers=file["numbers"],
            positions=file["positions"],
            cell=file["cell"],
            pbc=(True, True, True),
            properties={},
            property_weights={},
        )
    atoms = mace_data.AtomicData.from_config(
        structure, z_table=AtomicNumberTable(given["elements"]), cutoff=given["cutoff"]
    )
    loader = torch_geometric.dataloader.DataLoader([atoms], batch_size=1)
    return next(iter(loader)).to_dict()


def write_parity(given, path):
    """Weights and their energy and forces, in float64."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = model_of(given)
    out = model(batch_of(given))
    state = {f"sd/{k}": v.numpy() for k, v in model.state_dict().items()}
    found = {k: out[k].detach().numpy() for k in ("energy", "forces")}
    config = convert_to_json_format(extract_config_mace_model(model))
    np.savez(path, settings=json.dumps(config), **state, **found)


def main():
    given = settings()
    write_parity(given, given["parity"])
    torch.set_default_dtype(torch.float32)
    model, batch = model_of(given), batch_of(given)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=given["rate"])

    def train():
        optimiser.zero_grad()
        out = model(batch, training=True)
        loss = (out["forces"] ** 2).sum() + (out["energy"] ** 2).sum()
        loss.backward()
        optimiser.step()

    works = {"evaluate": lambda: model(batch), "train": train}
    count = sum(p.numel() for p in trained)
    answer(works, {"parameters": count, "edges": batch["edge_index"].shape[1]})


if __name__ == "__main__":
    main()
