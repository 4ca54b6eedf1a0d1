# /// script
# requires-python = ">=3.12"
# dependencies = [
#     "mace-torch==0.3.16",
#     "numpy>=2,<3",
#     "scipy>=1.13",
#     "torch_geometric==2.8.1",
# ]
# ///
"""Reference values from PyTorch codes, in small files for the tests of `backbones`.

    uv run tools/make_oracles.py dimenet   # writes dimenet_pyg.npz
    uv run tools/make_oracles.py check     # recomputes all files from their weights

PyTorch is no dependency of the workspace, which does not import this script. All values
are float64.

`dimenet_pyg.npz`: torch_geometric's DimeNet++ with two changes. The angular basis uses
the papers' envelope u(d), where the released code has u(d) c/d, and zeros of the Bessel
functions in float64 instead of float32. The functions that list pairs and triplets,
which need compiled extensions, are replaced by loops. `mace_torch.npz`: weights of a
ScaleShiftMACE of mace-torch and a triclinic structure with its results.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import spherical_jn

DATA = Path(__file__).parents[1] / "packages" / "backbones" / "tests" / "data"
CUTOFF = 4.0
EMBEDDING, ELEMENTS = "emb.emb.weight", [1, 6, 8]  # rows that are stored
NUMBERS = np.array([6, 1, 8, 6, 1, 8])
# Positions within the cutoff of each other, Å.
POSITIONS = np.array(
    [
        [0.0, 0.0, 0.0],
        [1.1, 0.2, 0.0],
        [-0.4, 1.2, 0.3],
        [2.2, 1.0, -0.8],
        [0.5, -1.3, 2.1],
        [3.9, 0.4, 1.5],
    ]
)


def bessel_zeros(degrees, count):
    """Returns the first zeros of each spherical Bessel function, in float64."""
    zeros = np.arange(1, count + degrees) * np.pi
    rows = [zeros[:count]]
    for degree in range(1, degrees):
        value = lambda x, degree=degree: spherical_jn(degree, x)
        pairs = itertools.pairwise(zeros)  # zeros of successive degrees interlace
        zeros = np.array([brentq(value, a, b, xtol=1e-14) for a, b in pairs])
        rows.append(zeros[:count])
    return np.array(rows)


def pairs_within(positions, r, batch=None, max_num_neighbors=None):
    """Returns senders and receivers of all pairs; replaces `radius_graph`."""
    del batch, max_num_neighbors
    distances = torch.linalg.norm(positions[:, None] - positions, dim=-1)
    connected = (distances < r) & ~torch.eye(len(positions), dtype=torch.bool)
    receivers, senders = torch.nonzero(connected, as_tuple=True)
    return torch.stack([senders, receivers])


def triplets(edges, num_nodes):
    """Returns paths k -> j -> i of two edges with k != i; replaces `triplets`."""
    del num_nodes
    senders, receivers = edges.tolist()
    paths = [
        (receivers[ji], senders[ji], senders[kj], kj, ji)
        for ji, kj in itertools.product(range(len(senders)), repeat=2)
        if receivers[kj] == senders[ji] and senders[kj] != receivers[ji]
    ]
    i, j, k, kj, ji = torch.tensor(paths).T
    return edges[1], edges[0], i, j, k, kj, ji


def dimenet():
    """Returns a small DimeNet++ with the changes listed above."""
    from torch_geometric.nn.models import dimenet, dimenet_utils

    dimenet_utils.Jn_zeros = bessel_zeros
    dimenet.radius_graph, dimenet.triplets = pairs_within, triplets
    model = dimenet.DimeNetPlusPlus(
        hidden_channels=8,
        out_channels=1,
        num_blocks=2,
        int_emb_size=6,
        basis_emb_size=4,
        out_emb_channels=10,
        num_spherical=5,
        num_radial=4,
        cutoff=CUTOFF,
        num_output_layers=2,
        output_initializer="glorot_orthogonal",  # the default gives zero energy
    )
    model.sbf.envelope = PublishedEnvelope(model.sbf.envelope)
    return model


class PublishedEnvelope(torch.nn.Module):
    """Envelope u(d) of the papers, from the released u(d) / d."""

    def __init__(self, released):
        super().__init__()
        self.released = released

    def forward(self, x):
        """Returns u(d), with d in units of the cutoff."""
        return x * self.released(x)


def evaluate_dimenet(model, arrays):
    """Returns energy and forces of a molecule."""
    positions = torch.tensor(arrays["positions"], requires_grad=True)
    energy = model(torch.tensor(arrays["numbers"]), positions).sum()
    (gradient,) = torch.autograd.grad(energy, positions)
    return {"energy": energy.detach().numpy(), "forces": -gradient.numpy()}


def write_dimenet(path):
    """Writes random weights, biases included, with the energy and forces they give."""
    torch.manual_seed(0)
    model = dimenet()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    positions = POSITIONS + 0.1 * np.random.default_rng(3).normal(size=POSITIONS.shape)
    arrays = {"numbers": NUMBERS, "positions": positions}
    arrays |= evaluate_dimenet(model, arrays)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    state[EMBEDDING] = state[EMBEDDING][ELEMENTS]
    np.savez_compressed(path, **arrays, **state)


def check_dimenet(arrays):
    """Recomputes energy and forces from the stored weights, with torch_geometric."""
    model = dimenet()
    state = model.state_dict()
    for name, value in state.items():
        stored = torch.tensor(arrays[name])
        if name == EMBEDDING:
            value[ELEMENTS] = stored
        else:
            state[name] = stored
    model.load_state_dict(state)
    return evaluate_dimenet(model, arrays)


def check_mace(arrays):
    """Recomputes energy, forces and stress from the stored weights, with mace-torch."""
    from mace import data, modules
    from mace.modules.models import o3
    from mace.tools import AtomicNumberTable, torch_geometric

    blocks = modules.interaction_classes
    elements = arrays["sd/atomic_numbers"].tolist()
    model = modules.ScaleShiftMACE(
        r_max=float(arrays["sd/r_max"]),
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("16x0e + 16x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=12.0,
        atomic_numbers=elements,
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.3,
        atomic_inter_shift=0.1,
    )
    state = {k[3:]: torch.tensor(v) for k, v in arrays.items() if k[:3] == "sd/"}
    missing, unknown = model.load_state_dict(state, strict=False)
    constants = ("w3j", "output_mask", "weights_0_zeroed", "U_matrix")
    missing = [name for name in missing if not any(c in name for c in constants)]
    if missing or unknown:
        raise SystemExit(
            f"The parameters of mace-torch differ: {missing} are not in the file, "
            f"{unknown} are not in the model."
        )
    structure = data.Configuration(
        atomic_numbers=arrays["z"],
        positions=arrays["pos"],
        cell=arrays["cell"],
        pbc=(True, True, True),
        properties={},
        property_weights={},
    )
    atoms = data.AtomicData.from_config(
        structure, z_table=AtomicNumberTable(elements), cutoff=float(model.r_max)
    )
    loader = torch_geometric.dataloader.DataLoader([atoms], batch_size=1)
    out = model(next(iter(loader)).to_dict(), compute_stress=True)
    return {k: out[k].detach().numpy() for k in ("energy", "forces", "stress")}


def check():
    """Prints the largest difference to each stored array; returns 1 above 1e-10."""
    largest = 0.0
    for name, recompute in (
        ("dimenet_pyg.npz", check_dimenet),
        ("mace_torch.npz", check_mace),
    ):
        with np.load(DATA / name) as file:
            arrays = dict(file)
        for key, value in recompute(arrays).items():
            difference = float(np.abs(value - arrays[key]).max())
            largest = max(largest, difference)
            print(f"{name}: {key} differs by {difference:.1e}")
    return int(largest > 1e-10)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["dimenet", "check"])
    torch.set_default_dtype(torch.float64)
    if parser.parse_args().command == "check":
        return check()
    write_dimenet(DATA / "dimenet_pyg.npz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
