"""Allegro against a literal implementation of the paper's equations."""

import backbones as bb
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from e3nn_jax import clebsch_gordan

ELEMENTS = (1, 6, 8)
SIZE = bb.AllegroSize(
    channels=3, hidden=6, embedding=4, two_body=(5, 7), num_bessel=4, num_layers=3
)


def reference_mlp(network, x):
    for i, layer in enumerate(network.layers):
        weight = np.asarray(layer.weight)
        x = x @ weight / np.sqrt(len(weight))
        if i < len(network.layers) - 1:
            x = 1.4868475812732405 * x * np.tanh(np.log1p(np.exp(x)))  # mish
    return x


def reference_linear(layer, x):
    weight = np.asarray(layer.weight)
    return x @ weight / np.sqrt(len(weight))


# Signs of the Clebsch-Gordan tables relative to Cartesian products.
CROSS = np.sign(clebsch_gordan(1, 1, 1)[0, 1, 2])
TENSOR = np.sign(clebsch_gordan(1, 2, 1)[0, 2, 0]) * -1


def reference_products(vector, parity, scalar, axial, tensor):
    """Products of a vector with (s, v, T), by irrep of the product and harmonic."""
    odd, even = ("1o", "1e") if parity == "o" else ("1e", "1o")
    products = {
        (odd, 0): vector * scalar,
        (even, 1): CROSS * np.cross(vector, axial) / np.sqrt(2),
        (odd, 2): TENSOR * np.sqrt(3 / 5) * tensor @ vector,
    }
    if parity == "o":
        products["0e", 1] = vector @ axial / np.sqrt(3)
    return products


def expected_energies(model, s):
    cutoff, size = model.cutoff, model.size
    atoms = Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)
    receivers, senders, vectors = neighbor_list("ijD", atoms, cutoff)
    r = np.linalg.norm(vectors, axis=1)
    x_ = r / cutoff
    u = 1 - 28 * x_**6 + 48 * x_**7 - 21 * x_**8  # p = 6
    frequencies = np.asarray(model.radial.frequencies)
    radial = np.sqrt(2 / cutoff) * np.sin(frequencies * x_[:, None]) / r[:, None]
    # Fixed factors of both: unit variance in a ball, and near it at edges.
    radial = radial * u[:, None] * np.sqrt(cutoff**3 / 3)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    nodes = (1 + nodes) / 2
    at_nodes = 1 - 28 * nodes**6 + 48 * nodes**7 - 21 * nodes**8
    u = u / np.sqrt(np.sum(weights * nodes * at_nodes**2))
    root = np.sqrt(float(model.avg_num_neighbors))
    species = np.asarray(model.embedding)[np.searchsorted(ELEMENTS, s.numbers)]

    edges = range(len(r))
    x = np.stack([
        u[e]
        * reference_mlp(
            model.two_body,
            np.concatenate([species[receivers[e]], species[senders[e]], radial[e]]),
        )
        for e in edges
    ])  # fmt: skip
    units = vectors / r[:, None]
    start = reference_linear(model.first_weights, x)
    features = {"1o": np.sqrt(3) * start[:, :, None] * units[:, None, :]}
    for index, layer in enumerate(model.layers):
        weights = reference_linear(layer.weights, x).reshape(len(r), 3, -1)
        new_x, mixed = [], []
        for e in edges:
            adjacent = [k for k in edges if receivers[k] == receivers[e]]
            products = {"0e": [], "1o": [], "1e": []}
            for c in range(size.channels):
                scalar = sum(weights[k, 0, c] for k in adjacent) / root
                vector = sum(weights[k, 1, c] * np.sqrt(3) * units[k] for k in adjacent)
                tensor = sum(
                    weights[k, 2, c]
                    * np.sqrt(15 / 2)
                    * (np.outer(units[k], units[k]) - np.eye(3) / 3)
                    for k in adjacent
                )
                products_of_channel = {}
                for name, of_edge in features.items():
                    parts = reference_products(
                        of_edge[e, c], name[1], scalar, vector / root, tensor / root
                    )
                    products_of_channel |= {
                        (key[0], name, key[1]): p for key, p in parts.items()
                    }
                # Channels fastest, then paths: by feature as listed, then harmonic.
                for key in sorted(
                    products_of_channel, key=lambda k: (k[1] == "1e", k[2])
                ):
                    products[key[0]].append((key, c, products_of_channel[key]))
            ordered = {
                name: [
                    p
                    for path in dict.fromkeys(key for key, _, _ in entries)
                    for key, _, p in entries
                    if key == path
                ]
                for name, entries in products.items()
            }
            joined = np.concatenate([x[e], np.array(ordered["0e"])])
            new_x.append(u[e] * reference_mlp(layer.latent, joined))
            mixed.append({
                name: reference_linear(linear, np.array(ordered[name]).T).T
                for name, linear in layer.mix.items()
            })  # fmt: skip
        a = float(model.mixing[index])
        x = (x + a * np.stack(new_x)) / (1 + a)
        features = {name: np.stack([m[name] for m in mixed]) for name in layer.mix}
    energies = np.zeros(len(s.numbers))
    np.add.at(energies, receivers, reference_linear(model.readout, x)[:, 0] / root)
    return energies


@pytest.mark.parametrize("periodic", [True, False])
def test_energies_are_those_of_the_published_equations(
    periodic, structure, energies_of
):
    s = structure(3, atoms=5, box=6.0, periodic=periodic)
    model = bb.Allegro(ELEMENTS, SIZE, cutoff=4.0, avg_num_neighbors=9.0, key=jr.key(2))
    energies = energies_of(bb.Potential(model, dict.fromkeys(ELEMENTS, 0.0)), s)
    expected = expected_energies(model, s)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-12)


def test_published_equilibration_is_a_special_case_of_the_adapter(structure):
    """With a linear readout it is a sum of networks of single edges."""
    from backbones._edge_hooks import EdgeAdapter

    (bucket,) = bb.pack([structure(1)], cutoff=4.0, graphs=1, dtype=np.float64)
    batch = bucket.batch([0])
    adapter = EdgeAdapter(5, 5, 4, key=jr.key(0))
    count = bucket.sizes.edges
    edges, readout = jr.normal(jr.key(1), (count, 5)), jr.normal(jr.key(2), (4,))
    weight = jr.uniform(jr.key(3), (count,)) * batch.edge_mask
    atoms = adapter.atoms(edges, weight, jnp.array(4.0), batch)
    gain, scaled = 1.6765620560798837, lambda m: m.weight / len(m.weight) ** 0.5
    first, second, last = map(scaled, adapter.gather.layers)
    hidden = gain * jax.nn.silu(gain * jax.nn.silu(edges @ first) @ second)
    per_edge = weight * (hidden @ (last @ readout)) / 2.0
    expected = np.zeros(len(atoms))
    np.add.at(expected, np.asarray(batch.receivers), np.asarray(per_edge))
    np.testing.assert_allclose(atoms @ readout, expected, atol=1e-12)


def test_other_irreps_are_equivariant(structure, predict):
    size = bb.AllegroSize(
        channels=2, features=("1o", "2e"), hidden=4, embedding=3, two_body=(4,)
    )
    model = bb.Allegro((1, 6, 8), size, avg_num_neighbors=9.0, key=jr.key(0))
    potential = bb.Potential(model, dict.fromkeys(ELEMENTS, 0.0))
    s = structure(3, periodic=False)
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    rotated = bb.Structure(s.numbers, s.positions @ q.T)
    a, b = predict(potential, s), predict(potential, rotated)
    np.testing.assert_allclose(a.energies, b.energies, atol=1e-12)
    np.testing.assert_allclose(a.forces @ q.T, b.forces, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ("1e",)}, "include no harmonic up to l_max = 2"),
        ({"features": ("1o", "0o"), "l_max": 1}, r"has the irreps \['0o'\]"),
        ({"features": ("1o", "x")}, "'x' is not an irrep"),
        ({"num_layers": 0}, "`num_layers` must be at least 1, got 0"),
    ],
)
def test_invalid_sizes_raise(change, message):
    with pytest.raises(ValueError, match=message):
        bb.AllegroSize(**change)
