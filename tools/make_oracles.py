# /// script
# requires-python = ">=3.12"
# dependencies = [
#     "mace-torch==0.3.16",
#     "numpy>=2,<3",
#     "scipy>=1.13",
#     "torch_geometric==2.8.1",
# ]
# ///
"""Reference values of torch codes, as the small files that tests of `backbones` read.

    uv run tools/make_oracles.py dimenet   # writes dimenet_pyg.npz
    uv run tools/make_oracles.py check     # recomputes all files from their weights

Torch stays out of the workspace; nothing here is imported by it. Float64 throughout.

`dimenet_pyg.npz`: torch_geometric's DimeNet++ with two changes. The angular basis has
the papers' envelope u(d) where the released code has u(d) c/d, and zeros of the Bessel
functions in float64 where it has float32. Its searches for pairs and triplets, which
need compiled extensions, are replaced by loops. `mace_torch.npz`: a ScaleShiftMACE of
mace-torch and a triclinic structure; `check` shows that it is what that code says.
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
EMBEDDING, ELEMENTS = "emb.emb.weight", [1, 6, 8]  # rows of it that are kept
NUMBERS = np.array([6, 1, 8, 6, 1, 8])
# Within reach of one another, Å.
PLACES = np.array(
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
    """The first zeros of every spherical Bessel function, in float64."""
    zeros = np.arange(1, count + degrees) * np.pi
    rows = [zeros[:count]]
    for degree in range(1, degrees):
        value = lambda x, degree=degree: spherical_jn(degree, x)
        pairs = itertools.pairwise(zeros)  # zeros of neighbours interlace
        zeros = np.array([brentq(value, a, b, xtol=1e-14) for a, b in pairs])
        rows.append(zeros[:count])
    return np.array(rows)


def pairs_within(places, r, batch=None, max_num_neighbors=None):
    """Senders and receivers of all pairs; stands in for `radius_graph`."""
    del batch, max_num_neighbors
    apart = torch.linalg.norm(places[:, None] - places, dim=-1)
    near = (apart < r) & ~torch.eye(len(places), dtype=torch.bool)
    receivers, senders = torch.nonzero(near, as_tuple=True)
    return torch.stack([senders, receivers])


def triplets(edges, num_nodes):
    """Paths k -> j -> i of two edges with k != i; stands in for `triplets`."""
    del num_nodes
    senders, receivers = edges.tolist()
    found = [
        (receivers[ji], senders[ji], senders[kj], kj, ji)
        for ji, kj in itertools.product(range(len(senders)), repeat=2)
        if receivers[kj] == senders[ji] and senders[kj] != receivers[ji]
    ]
    i, j, k, kj, ji = torch.tensor(found).T
    return edges[1], edges[0], i, j, k, kj, ji


def dimenet():
    """DimeNet++ of the test's size, with the changes named above."""
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
        output_initializer="glorot_orthogonal",  # its default is zero energy
    )
    model.sbf.envelope = Published(model.sbf.envelope)
    return model


class Published(torch.nn.Module):
    """The papers' envelope u(d), from the released u(d) / d."""

    def __init__(self, released):
        super().__init__()
        self.released = released

    def forward(self, x):
        """Returns the envelope of d, in units of the cutoff."""
        return x * self.released(x)


def of_dimenet(model, arrays):
    """Energy and forces of a molecule."""
    at = torch.tensor(arrays["positions"], requires_grad=True)
    energy = model(torch.tensor(arrays["numbers"]), at).sum()
    (slope,) = torch.autograd.grad(energy, at)
    return {"energy": energy.detach().numpy(), "forces": -slope.numpy()}


def write_dimenet(path):
    """Random weights, vectors among them too, and what they say."""
    torch.manual_seed(0)
    model = dimenet()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    shaken = PLACES + 0.1 * np.random.default_rng(3).normal(size=PLACES.shape)
    arrays = {"numbers": NUMBERS, "positions": shaken}
    arrays |= of_dimenet(model, arrays)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    state[EMBEDDING] = state[EMBEDDING][ELEMENTS]
    np.savez_compressed(path, **arrays, **state)


def check_dimenet(arrays):
    """What torch_geometric says of the weights and the molecule in its file."""
    model = dimenet()
    state = model.state_dict()
    for name, value in state.items():
        known = torch.tensor(arrays[name])
        if name == EMBEDDING:
            value[ELEMENTS] = known
        else:
            state[name] = known
    model.load_state_dict(state)
    return of_dimenet(model, arrays)


def check_mace(arrays):
    """What mace-torch says of the weights and the structure in its file."""
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
    left = [name for name in missing if not any(c in name for c in constants)]
    if left or unknown:
        raise SystemExit(f"mace-torch lacks {unknown} and wants {left}")
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
    """Prints how far each file is from what its code says; 1 if anything is off."""
    worst = 0.0
    for name, recompute in (
        ("dimenet_pyg.npz", check_dimenet),
        ("mace_torch.npz", check_mace),
    ):
        with np.load(DATA / name) as file:
            arrays = dict(file)
        for key, value in recompute(arrays).items():
            apart = float(np.abs(value - arrays[key]).max())
            worst = max(worst, apart)
            print(f"{name}: {key} apart by {apart:.1e}")
    return int(worst > 1e-10)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["dimenet", "check"])
    torch.set_default_dtype(torch.float64)
    if parser.parse_args().verb == "check":
        return check()
    write_dimenet(DATA / "dimenet_pyg.npz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
