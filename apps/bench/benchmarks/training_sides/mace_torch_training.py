# /// script
# requires-python = ">=3.12"
# dependencies = ["mace-torch==0.3.16"]
# ///
"""The mace-torch side of `training_speed.py`, run in an environment of its own."""

from pathlib import Path

import numpy as np
import torch
from answering import answer, settings
from mace import data as mace_data
from mace.tools import AtomicNumberTable, torch_geometric
from mace_torch_side import model_of


def batches_of(given):
    """Batches with energies, sizes and forces."""
    with np.load(Path(given["folder"]) / "structures.npz") as file:
        data = dict(file)
    cuts = np.cumsum(data["sizes"])[:-1]
    parts = {k: np.split(data[k], cuts) for k in ("numbers", "positions", "forces")}
    table = AtomicNumberTable(given["elements"])
    graphs = []
    for numbers, positions in zip(parts["numbers"], parts["positions"], strict=True):
        one = mace_data.Configuration(
            atomic_numbers=numbers,
            positions=positions,
            pbc=(False, False, False),
            properties={},
            property_weights={},
        )
        cutoff = given["cutoff"]
        graphs.append(
            mace_data.AtomicData.from_config(one, z_table=table, cutoff=cutoff)
        )
    size = given["batch"]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=size)
    found = []
    for i, batch in enumerate(loader):
        own = slice(size * i, size * (i + 1))
        tensor = lambda x: torch.tensor(np.asarray(x), dtype=torch.float32)
        found.append(
            (
                batch.to_dict(),
                tensor(data["energies"][own]),
                tensor(data["sizes"][own]),
                tensor(np.concatenate(parts["forces"][own])),
            )
        )
    return found


def main():
    given = settings()
    torch.set_default_dtype(torch.float32)
    model, batches = model_of(given), batches_of(given)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=given["rate"])

    def train():
        for batch, energies, sizes, forces in batches:
            optimiser.zero_grad()
            out = model(batch, training=True)
            apart = (out["energy"] - energies) / sizes
            slopes = out["forces"] - forces
            (10 * (apart**2).mean() + (slopes**2).mean()).backward()
            optimiser.step()

    count = sum(p.numel() for p in trained)
    answer({"train": train}, {"parameters": count})


if __name__ == "__main__":
    main()
