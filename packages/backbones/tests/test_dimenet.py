"""DimeNet++ against a literal implementation of the papers' equations."""

from pathlib import Path

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from backbones.dimenet._spherical_bessel import (
    bessel_zeros,
)
from scipy.special import eval_legendre, expit, spherical_jn

DATA = Path(__file__).parent / "data"
ELEMENTS = (1, 6, 8)
SIZE = bb.DimeNetSize(
    channels=5,
    num_radial=3,
    num_spherical=4,
    num_blocks=2,
    int_emb_size=4,
    basis_emb_size=2,
    out_emb_channels=6,
    num_output_layers=2,
)


def swish(x):
    return x * expit(x)


def reference_dense(layer, x):
    weight = np.asarray(layer.linear.weight)
    bias = 0.0 if layer.bias is None else np.asarray(layer.bias)
    return swish(x @ weight / np.sqrt(len(weight)) + bias)


def reference_linear(layer, x):
    weight = np.asarray(layer.weight)
    return x @ weight / np.sqrt(len(weight))


def reference_residual(layer, x):
    return x + reference_dense(layer.second, reference_dense(layer.first, x))


def expected_energies(model, s):
    cutoff, size = model.cutoff, model.size
    atoms = Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)
    to, source, vectors = neighbor_list("ijD", atoms, cutoff)
    d = np.linalg.norm(vectors, axis=1)
    u = 1 - 28 * (d / cutoff) ** 6 + 48 * (d / cutoff) ** 7 - 21 * (d / cutoff) ** 8
    n = np.asarray(model.radial.frequencies)
    rbf = np.sqrt(2 / cutoff) * np.sin(n * d[:, None] / cutoff) / d[:, None]
    # Fixed factors of both bases give unit variance in a ball of the cutoff.
    rbf = rbf * u[:, None] * np.sqrt(cutoff**3 / 3)
    zeros = bessel_zeros(size.num_spherical, size.num_radial)

    def sbf(kj, ji):
        # The angle at j between its neighbors k and i.
        cosine = vectors[kj] @ -vectors[ji] / (d[kj] * d[ji])
        rows = []
        for degree in range(size.num_spherical):
            for z in zeros[degree]:
                norm = np.sqrt(2 / spherical_jn(degree + 1, z) ** 2 * 4 * np.pi / 3)
                y = np.sqrt((2 * degree + 1) / 4 / np.pi) * eval_legendre(
                    degree, cosine
                )
                rows.append(u[kj] * norm * spherical_jn(degree, z * d[kj] / cutoff) * y)
        return np.array(rows)

    edges = range(len(d))
    root = np.sqrt(float(model.avg_num_neighbors))
    h = np.asarray(model.embedding)[np.searchsorted(ELEMENTS, s.numbers)]
    m = np.stack([
        reference_dense(
            model.first.message,
            np.concatenate(
                [h[to[e]], h[source[e]], reference_dense(model.first.basis, rbf[e])]
            ),
        )
        for e in edges
    ])  # fmt: skip

    def readout(block, m):
        t = np.zeros((len(s.numbers), size.channels))
        np.add.at(t, to, reference_linear(block.distances, rbf) * m)
        t = reference_linear(block.up, t / root)
        for layer in block.hidden:
            t = reference_dense(layer, t)
        return reference_linear(block.last, t)[:, 0]

    energies = readout(model.readouts[0], m)
    for block, reader in zip(model.interactions, model.readouts[1:], strict=True):
        new = []
        for ji in edges:
            summed = np.zeros(size.int_emb_size)
            for kj in edges:
                reverse = (
                    np.allclose(vectors[kj], -vectors[ji]) and source[kj] == to[ji]
                )
                if to[kj] != source[ji] or reverse:
                    continue
                x = reference_dense(block.dense_kj, m[kj])
                for_distance = reference_linear(block.distances[0], rbf[kj])
                x = x * reference_linear(block.distances[1], for_distance)
                for_angle = reference_linear(block.angles[0], sbf(kj, ji))
                summed += reference_dense(block.down, x) * reference_linear(
                    block.angles[1], for_angle
                )
            x = reference_dense(block.dense_ji, m[ji]) + reference_dense(
                block.up, summed / root
            )
            for layer in block.before:
                x = reference_residual(layer, x)
            x = reference_dense(block.skip, x) + m[ji]
            for layer in block.after:
                x = reference_residual(layer, x)
            new.append(x)
        m = np.stack(new)
        energies = energies + readout(reader, m)
    return energies


@pytest.mark.parametrize("periodic", [True, False])
def test_energies_are_those_of_the_published_equations(
    periodic, structure, energies_of
):
    s = structure(3, atoms=5, box=6.0, periodic=periodic)
    model = bb.DimeNet(ELEMENTS, SIZE, cutoff=4.0, avg_num_neighbors=9.0, key=jr.key(2))
    # Biases are zero at the start; other values test them too.
    model = jax.tree.map(lambda x: x + 0.1 if x.ndim == 1 else x, model)
    energies = energies_of(bb.Potential(model, dict.fromkeys(ELEMENTS, 0.0)), s)
    expected = expected_energies(model, s)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-11)


def test_batches_without_triplets_and_invalid_sizes_raise(structure):
    model = bb.DimeNet(ELEMENTS, SIZE, avg_num_neighbors=9.0, key=jr.key(2))
    (bucket,) = bb.pack([structure(1)], cutoff=4.0, graphs=1)
    with pytest.raises(ValueError, match="pack the structures with `triplets=True`"):
        model(bucket.batch([0]))
    with pytest.raises(ValueError, match="`num_blocks` must be at least 1, got 0"):
        bb.DimeNetSize(num_blocks=0)


def converted(arrays):
    """The model with the weights of torch_geometric's, see tests/data/README.md."""
    cutoff = 4.0
    size = bb.DimeNetSize(
        channels=8,
        num_radial=4,
        num_spherical=5,
        num_blocks=2,
        int_emb_size=6,
        basis_emb_size=4,
        out_emb_channels=10,
        num_output_layers=2,
    )
    # Its radial functions are u sin(n pi x) / x, and its angle is pi minus ours.
    radial_scale = (2 / 3) ** 0.5
    angular_scale = (4 * np.pi / 3) ** 0.5 * np.repeat((-1.0) ** np.arange(5), 4)

    def linear(name, scale=1.0):
        weight = arrays[f"{name}.weight"].T
        inputs = np.broadcast_to(1 / np.asarray(scale), len(weight))
        return jnp.asarray(inputs[:, None] * weight * len(weight) ** 0.5)

    def fill(model, name, scale=1.0):
        """Returns a linear, dense or residual layer with the given weights."""
        if hasattr(model, "first"):
            pair = (
                fill(model.first, f"{name}.lin1"),
                fill(model.second, f"{name}.lin2"),
            )
            return put(model, ("first", "second"), pair)
        if hasattr(model, "linear"):
            bias = arrays.get(f"{name}.bias")
            bias = None if bias is None else jnp.asarray(bias)
            inner = put(model.linear, ("weight",), (linear(name, scale),))
            return put(model, ("linear", "bias"), (inner, bias))
        return put(model, ("weight",), (linear(name, scale),))

    def put(model, names, values):
        get = lambda m: [getattr(m, name) for name in names]
        return eqx.tree_at(get, model, list(values), is_leaf=lambda x: x is None)

    model = bb.DimeNet(
        ELEMENTS, size, cutoff=cutoff, avg_num_neighbors=1.0, key=jr.key(0)
    )
    first = put(
        model.first,
        ("basis", "message"),
        (
            fill(model.first.basis, "emb.lin_rbf", radial_scale),
            fill(model.first.message, "emb.lin"),
        ),
    )

    def interaction(block, name):
        at = lambda part: f"{name}.{part}"
        all_of = lambda layers, part: tuple(
            fill(m, at(f"{part}.{i}")) for i, m in enumerate(layers)
        )
        values = {
            "dense_ji": fill(block.dense_ji, at("lin_ji")),
            "dense_kj": fill(block.dense_kj, at("lin_kj")),
            "down": fill(block.down, at("lin_down")),
            "up": fill(block.up, at("lin_up")),
            "distances": (
                fill(block.distances[0], at("lin_rbf1"), radial_scale),
                fill(block.distances[1], at("lin_rbf2")),
            ),
            "angles": (
                fill(block.angles[0], at("lin_sbf1"), angular_scale),
                fill(block.angles[1], at("lin_sbf2")),
            ),
            "before": all_of(block.before, "layers_before_skip"),
            "skip": fill(block.skip, at("lin")),
            "after": all_of(block.after, "layers_after_skip"),
        }
        return put(block, tuple(values), tuple(values.values()))

    def readout(block, name):
        hidden = tuple(fill(m, f"{name}.lins.{i}") for i, m in enumerate(block.hidden))
        values = {
            "distances": fill(block.distances, f"{name}.lin_rbf", radial_scale),
            "up": fill(block.up, f"{name}.lin_up"),
            "hidden": hidden,
            "last": fill(block.last, f"{name}.lin"),
        }
        return put(block, tuple(values), tuple(values.values()))

    interactions = tuple(
        interaction(b, f"interaction_blocks.{i}")
        for i, b in enumerate(model.interactions)
    )
    readouts = tuple(
        readout(b, f"output_blocks.{i}") for i, b in enumerate(model.readouts)
    )
    radial = put(model.radial, ("frequencies",), (jnp.asarray(arrays["rbf.freq"]),))
    values = {
        "embedding": jnp.asarray(arrays["emb.emb.weight"]),
        "radial": radial,
        "first": first,
        "interactions": interactions,
        "readouts": readouts,
    }
    return put(model, tuple(values), tuple(values.values()))


def test_energy_and_forces_agree_with_torch_geometric(predict):
    with np.load(DATA / "dimenet_pyg.npz") as file:
        arrays = dict(file)
    potential = bb.Potential(converted(arrays), dict.fromkeys(ELEMENTS, 0.0))
    out = predict(potential, bb.Structure(arrays["numbers"], arrays["positions"]))
    assert np.abs(arrays["forces"]).max() > 1e-2
    np.testing.assert_allclose(out.energy[0], arrays["energy"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(out.forces[0], arrays["forces"], rtol=0, atol=1e-10)
