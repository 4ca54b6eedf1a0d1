# /// script
# requires-python = ">=3.12"
# dependencies = ["mace-torch==0.3.16"]
# ///
"""Process of `training_speed.py` that trains with mace-torch."""

from pathlib import Path

import numpy as np
import torch
from mace import data as mace_data
from mace.tools import AtomicNumberTable, torch_geometric
from mace_torch_side import make_model
from serving import serve, settings


def graphs_of(data, elements, cutoff):
    """Returns the graphs of the structures in arrays, without labels."""
    table = AtomicNumberTable(elements)
    ends = np.cumsum(data["sizes"])[:-1]
    numbers, positions = (np.split(data[k], ends) for k in ("numbers", "positions"))
    graphs = []
    for z, r, cell in zip(numbers, positions, data["cells"], strict=True):
        configuration = mace_data.Configuration(
            atomic_numbers=z,
            positions=r,
            cell=cell,
            pbc=(bool(cell.any()),) * 3,
            properties={},
            property_weights={},
        )
        graphs.append(
            mace_data.AtomicData.from_config(
                configuration, z_table=table, cutoff=cutoff
            )
        )
    return graphs


def batches_of(given):
    """Returns batches with energies, numbers of atoms and forces."""
    with np.load(Path(given["folder"]) / "structures.npz") as file:
        data = dict(file)
    graphs = graphs_of(data, given["elements"], given["cutoff"])
    forces = np.split(data["forces"], np.cumsum(data["sizes"])[:-1])
    size = given["batch"]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=size)
    batches = []
    for i, batch in enumerate(loader):
        members = slice(size * i, size * (i + 1))
        tensor = lambda x: torch.tensor(np.asarray(x), dtype=torch.float32)
        batches.append(
            (
                batch.to_dict(),
                tensor(data["energies"][members]),
                tensor(data["sizes"][members]),
                tensor(np.concatenate(forces[members])),
            )
        )
    return batches


def main():
    given = settings()
    torch.set_default_dtype(torch.float32)
    model, batches = make_model(given), batches_of(given)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=given["rate"])

    def train():
        for batch, energies, sizes, forces in batches:
            optimizer.zero_grad()
            out = model(batch, training=True)
            energy_errors = (out["energy"] - energies) / sizes
            force_errors = out["forces"] - forces
            loss = 10 * (energy_errors**2).mean() + (force_errors**2).mean()
            loss.backward()
            optimizer.step()

    count = sum(p.numel() for p in parameters)
    serve({"train": train}, {"parameters": count})


if __name__ == "__main__":
    main()
