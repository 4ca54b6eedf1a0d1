import dataclasses
import sys
from pathlib import Path

import backbones as bb
import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest
from backbones.testing import batch_of, predict

# An installed package with layers, see `gaussian_layers.py`.
INSTALLED = str(Path(__file__).parent / "installed")
sys.path.append(INSTALLED)

from gaussian_layers import GaussianSum  # noqa: E402

ELEMENTS = (1, 6, 8)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def structure(seed=0, atoms=7, box=8.0, periodic=True, elements=ELEMENTS):
    rng = np.random.default_rng(seed)
    grid = rng.permutation(np.stack(np.meshgrid(*[range(4)] * 3), -1).reshape(-1, 3))
    positions = (grid[:atoms] + 0.3 * rng.uniform(size=(atoms, 3))) * box / 4.4
    cell = np.eye(3) * box + rng.uniform(-0.8, 0.8, (3, 3)) if periodic else None
    return bb.Structure(rng.choice(elements, atoms), positions, cell, float(seed % 3))


SIZES = {
    bb.MACE: bb.MACESize(
        channels=4,
        l_max=1,
        correlation=2,
        radial_mlp=(8,),
        readout_width=4,
        num_bessel=4,
    ),
    bb.Allegro: bb.AllegroSize(
        channels=3, hidden=6, embedding=4, two_body=(5,), num_bessel=4, adapter=5
    ),
    bb.DimeNet: bb.DimeNetSize(
        channels=6,
        num_radial=3,
        num_spherical=3,
        num_blocks=2,
        int_emb_size=4,
        basis_emb_size=3,
        out_emb_channels=5,
        num_output_layers=1,
        adapter=4,
    ),
}


def model(kind=bb.MACE, size=None, long_range=None, seed=0, **settings):
    backbone = kind(
        ELEMENTS,
        size or SIZES[kind],
        cutoff=4.0,
        avg_num_neighbors=10.0,
        long_range=long_range,
        key=jr.key(seed),
        **settings,
    )
    atomic_energies = {1: -1.0, 6: -2.0, 8: -3.0}
    return bb.Potential(backbone, atomic_energies, scale=0.7, shift=0.1)


def mace(size=None, long_range=None, seed=0):
    return model(bb.MACE, size, long_range, seed)


def gaussian_sum(kind=bb.MACE, hook="final", degree=0, size=None):
    width = (size or SIZES[kind]).widths[hook]
    return GaussianSum(0.3 * jr.normal(jr.key(9), (width,)), degree)


def with_layer(degree=0, hook="final"):
    return mace(long_range={hook: gaussian_sum(bb.MACE, hook, degree)})


def with_layer_at_every_hook(kind):
    """A potential with a layer at each hook, of degree 1 where possible."""
    width = SIZES[kind].widths["embedding"]
    layers = {
        "embedding": bb.Sum(
            (bb.TotalCharge(width, key=jr.key(5)), gaussian_sum(kind, "embedding"))
        ),
        "block 1": gaussian_sum(kind, "block 1", 1 if kind is bb.MACE else 0),
        "final": gaussian_sum(kind, "final"),
    }
    return model(kind, long_range=layers, charges="final")


BACKBONES = {"MACE": bb.MACE, "Allegro": bb.Allegro, "DimeNet++": bb.DimeNet}


@pytest.fixture(params=BACKBONES)
def kind(request):
    return BACKBONES[request.param]


@eqx.filter_jit
def _energies(potential, batch):
    return potential.energies(batch)[0]


def energies_of(potential, s):
    """Energies of the atoms of one structure; they compile faster than forces."""
    return np.asarray(_energies(potential, batch_of(potential, s)))[0, : len(s)]


def moved(s, positions=None, cell=None):
    return dataclasses.replace(
        s,
        positions=s.positions if positions is None else positions,
        cell=s.cell if cell is None else cell,
    )


# Test modules cannot import from conftest.py under importlib mode; they use fixtures.
def _as_fixture(function):
    return pytest.fixture(lambda: function, name=function.__name__)


_structure, _mace, _with_layer = (
    _as_fixture(structure),
    _as_fixture(mace),
    _as_fixture(with_layer),
)
_predict, _gaussian_sum, _model = (
    _as_fixture(predict),
    _as_fixture(GaussianSum),
    _as_fixture(model),
)
_everywhere, _moved = _as_fixture(with_layer_at_every_hook), _as_fixture(moved)
_energies_of = _as_fixture(energies_of)
