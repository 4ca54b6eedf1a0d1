import dataclasses

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Spread(eqx.Module):
    """A stand-in long-range layer: every atom hears all others through exp(-r/3)."""

    weight: jax.Array
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, *, plan=None, **_):
        del plan
        apart = positions[:, None] - positions[None]
        if cell is not None:
            # Periodic and smooth: distances on the torus of the cell.
            phase = 2 * jnp.pi * apart @ jnp.linalg.inv(cell)
            square = 2 - 2 * jnp.cos(phase)
            square = jnp.sum(square, -1)
        else:
            square = jnp.sum(apart**2, -1)
        kernel = jnp.exp(-square / 9) * mask[:, None] * mask[None]
        flat = features.reshape(len(features), -1, features.shape[-1])
        update = jnp.einsum("ij,jsc,c->isc", kernel, flat, self.weight)
        charges = jnp.where(mask, flat[:, 0] @ self.weight, 0.0)
        energies = charges * (kernel @ charges)
        return update.reshape(features.shape), energies, charges

    def plan_for(self, cells, positions, mask):
        return None


def structure(seed=0, atoms=7, box=8.0, periodic=True, elements=(1, 6, 8)):
    rng = np.random.default_rng(seed)
    grid = rng.permutation(np.stack(np.meshgrid(*[range(4)] * 3), -1).reshape(-1, 3))
    positions = (grid[:atoms] + 0.3 * rng.uniform(size=(atoms, 3))) * box / 4.4
    cell = np.eye(3) * box + rng.uniform(-0.8, 0.8, (3, 3)) if periodic else None
    return bb.Structure(rng.choice(elements, atoms), positions, cell, float(seed % 3))


def mace(size=None, long_range=None, seed=0):
    size = size or bb.MACESize(
        channels=4, l_max=1, correlation=2, radial=(8,), readout=4, bessel=4
    )
    model = bb.MACE(
        (1, 6, 8),
        size,
        cutoff=4.0,
        average_neighbours=10.0,
        long_range=long_range,
        key=jr.key(seed),
    )
    return bb.Potential(model, {1: -1.0, 6: -2.0, 8: -3.0}, scale=0.7, shift=0.1)


def with_layer(degree=0, hook="final"):
    width = 8 if hook == "final" else 4
    weight = 0.3 * jr.normal(jr.key(9), (width,))
    return mace(long_range={hook: Spread(weight, degree)})


POTENTIALS = {
    "short": mace,
    "final": with_layer,
    "degree 1 before block 1": lambda: with_layer(1, "block 1"),
    "embedding": lambda: with_layer(0, "embedding"),
}


@pytest.fixture(params=POTENTIALS)
def potential(request):
    return POTENTIALS[request.param]()


@eqx.filter_jit
def evaluate(potential, batch):
    return potential(batch)


def predict(potential, *structures, shape=(3, 14, 576)):
    """Predictions of structures in one batch; all tests share one padded shape."""
    (bucket,) = bb.pack(
        structures,
        cutoff=potential.backbone.cutoff,
        graphs=len(structures),
        plan_for=potential.backbone.plan_for,
        dtype=np.float64,
    )
    if shape is not None:
        sizes = dict(zip(("graphs", "slots", "edges"), shape, strict=True))
        assert all(getattr(bucket, k) <= size for k, size in sizes.items())
        bucket = dataclasses.replace(bucket, **sizes)
    out = evaluate(potential, bucket.batch(range(len(structures))))
    if shape is None:
        return out
    graphs, slots = len(structures), max(map(len, structures))
    trimmed = [
        x
        if x is None
        else x[:graphs, :slots]
        if x.shape[1:2] == shape[1:2]
        else x[:graphs]
        for x in out
    ]
    return bb.Prediction(*trimmed)


# Test modules cannot import from here under importlib mode; they ask by name.
def _offer(function):
    return pytest.fixture(lambda: function, name=function.__name__)


_structure, _mace, _with_layer = _offer(structure), _offer(mace), _offer(with_layer)
_predict, _spread = _offer(predict), _offer(Spread)
