import dataclasses
import itertools

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from backbones.testing import batch_of, predict

ELEMENTS = (1, 6, 8)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Spread(eqx.Module):
    """A stand-in long-range layer: every atom hears all others through a Gaussian."""

    weight: jax.Array
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, *, plan=None, **_):
        del plan
        apart = positions[:, None] - positions[None]
        if cell is None:
            kernel = jnp.exp(-jnp.sum(apart**2, -1) / 2)
        else:
            # All images within three cells of the nearest: the rest is below 1e-11.
            fractional = apart @ jnp.linalg.inv(cell)
            apart = (fractional - jnp.round(fractional)) @ cell
            images = np.array(list(itertools.product(range(-3, 4), repeat=3)))
            apart = apart[:, :, None] + images @ cell
            kernel = jnp.sum(jnp.exp(-jnp.sum(apart**2, -1) / 2), -1)
        kernel = kernel * mask[:, None] * mask[None]
        flat = features.reshape(len(features), -1, features.shape[-1])
        update = jnp.einsum("ij,jsc,c->isc", kernel, flat, self.weight)
        charges = jnp.where(mask, flat[:, 0] @ self.weight, 0.0)
        energies = charges * (kernel @ charges)
        return update.reshape(features.shape), energies, charges

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        return None


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


def spread(kind=bb.MACE, hook="final", degree=0, size=None):
    width = (size or SIZES[kind]).widths[hook]
    return Spread(0.3 * jr.normal(jr.key(9), (width,)), degree)


def with_layer(degree=0, hook="final"):
    return mace(long_range={hook: spread(bb.MACE, hook, degree)})


def with_layer_everywhere(kind):
    """A layer at each hook, of degree 1 where the backbone offers it."""
    width = SIZES[kind].widths["embedding"]
    layers = {
        "embedding": bb.Sum(
            (bb.TotalCharge(width, key=jr.key(5)), spread(kind, "embedding"))
        ),
        "block 1": spread(kind, "block 1", 1 if kind is bb.MACE else 0),
        "final": spread(kind, "final"),
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
    """Energies of one structure's atoms: cheaper to compile than forces."""
    return np.asarray(_energies(potential, batch_of(potential, s)))[0, : len(s)]


def moved(s, positions=None, cell=None):
    return dataclasses.replace(
        s,
        positions=s.positions if positions is None else positions,
        cell=s.cell if cell is None else cell,
    )


# Test modules cannot import from here under importlib mode; they ask by name.
def _offer(function):
    return pytest.fixture(lambda: function, name=function.__name__)


_structure, _mace, _with_layer = _offer(structure), _offer(mace), _offer(with_layer)
_predict, _spread, _model = _offer(predict), _offer(Spread), _offer(model)
_everywhere, _moved = _offer(with_layer_everywhere), _offer(moved)
_energies_of = _offer(energies_of)
