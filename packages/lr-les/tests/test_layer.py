"""The layer: its contract, its parameters, and float32."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_les import GaussianSum, InverseSixth, KGrid, LatentEwald, Mesh, energy

CHANNELS = 5


def perturbed(layer):
    """The layer with random changes of all parameters."""
    leaves, tree = jax.tree.flatten(layer)
    keys = jr.split(jr.key(9), len(leaves))
    return jax.tree.unflatten(
        tree,
        [x + 0.1 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)],
    )


@pytest.fixture
def batch(structure):
    """Three graphs of six slots: six atoms, four atoms, no atoms."""
    cells = jnp.stack([6.5 * jnp.eye(3), jnp.diag(jnp.array([4.0, 5, 7])), jnp.eye(3)])
    positions = jnp.stack([structure(seed=s)[1] for s in range(3)])
    mask = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    return jr.normal(jr.key(0), (3, 6, CHANNELS)), positions, cells, mask


@eqx.filter_jit
def over_graphs(layer, features, positions, cells, mask, plan):
    def one(f, p, c, m, z, charge, plan):
        return layer(f, p, c, m, species=z, total_charge=charge, plan=plan, spin=None)

    species, charge = jnp.ones(mask.shape, int), jnp.zeros(len(mask))
    return jax.vmap(one)(features, positions, cells, mask, species, charge, plan)


OPTIONS = [
    {},
    {"charge_channels": 3, "neutralize": True},
    {"learn_sigma": True, "remove_self": False},
    {"dl": 2.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_contract(batch, options, boundary):
    layer = perturbed(LatentEwald(CHANNELS, key=jr.key(1), **options))
    features, positions, cells, mask = batch
    cells = None if boundary == "open" else cells
    plan = layer.plan_for(cells, positions, mask)
    assert (plan is None) == (cells is None)
    arguments = features, positions, cells, mask, plan
    update, energies, charges = over_graphs(layer, *arguments)
    assert layer.degree == 0
    update, energies, charges, host_mask = map(
        np.asarray, (update, energies, charges, mask)
    )
    assert update.shape == features.shape and not np.any(update)
    assert not np.any(energies[~host_mask]) and not np.any(charges[~host_mask])
    assert np.all(energies[host_mask] != 0) and np.all(charges[host_mask] != 0)
    for i in range(2):
        inputs = [
            None if x is None else jnp.asarray(np.asarray(x)[i : i + 1])
            for x in arguments[:4]
        ]
        single_plan = layer.plan_for(inputs[2], inputs[1], inputs[3])
        single = [x[0] for x in over_graphs(layer, *inputs, single_plan)]
        np.testing.assert_allclose(energies[i], single[1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(charges[i], single[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_every_parameter_trains_on_forces(batch, boundary):
    options = {"charge_channels": 2, "learn_sigma": True, "neutralize": True}
    layer = perturbed(LatentEwald(CHANNELS, key=jr.key(1), **options))
    features, positions, cells, mask = batch
    positions = positions.at[1, 4:].set(positions[1, 0]).at[2].set(0.0)
    cells = None if boundary == "open" else cells
    plan = layer.plan_for(cells, positions, mask)

    def total(layer, positions, cells):
        return jnp.sum(over_graphs(layer, features, positions, cells, mask, plan)[1])

    def loss(layer, positions, cells):
        forces, stress = jax.grad(total, (1, 2))(layer, positions, cells)
        return jnp.sum(forces**2) + (0.0 if stress is None else jnp.sum(stress**2))

    gradients = jax.jit(jax.grad(loss, (0, 1, 2)))(layer, positions, cells)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradients))
    assert all(jnp.all(g != 0) for g in jax.tree.leaves(gradients[0]))
    assert not jnp.any(gradients[1][~mask])


def test_readout_is_the_sum_of_one_per_block(batch):
    layer = LatentEwald(CHANNELS, key=jr.key(1))
    features, _, _, mask = (x[0] for x in batch)
    blocks = [features.at[:, 2:].set(0), features.at[:, :2].set(0)]
    by_block = [np.asarray(layer.latent_charges(block, mask)) for block in blocks]
    total = layer.latent_charges(features, mask)
    np.testing.assert_allclose(by_block[0] + by_block[1], total)


def test_energy_is_that_of_the_latent_charges(batch, evaluate):
    layer = LatentEwald(CHANNELS, charge_channels=2, sigma=1.3, key=jr.key(1))
    features, positions, cells, mask = (x[1] for x in batch)
    _, energies, charges = layer(features, positions, cells, mask)
    latent = layer.latent_charges(features, mask)
    expected = energy(latent, positions, cells, sigma=1.3, mask=mask)
    np.testing.assert_allclose(energies, expected, rtol=1e-12)
    np.testing.assert_allclose(charges, latent.sum(axis=1))


def test_neutralized_charges_sum_to_zero(batch):
    layer = LatentEwald(CHANNELS, charge_channels=2, neutralize=True, key=jr.key(1))
    features, _, _, mask = (x[1] for x in batch)
    assert jnp.max(jnp.abs(layer.latent_charges(features, mask).sum(axis=0))) < 1e-15


def test_initial_charges_are_near_a_tenth_and_the_width_is_the_given_one():
    layer = LatentEwald(64, charge_channels=50, learn_sigma=True, key=jr.key(2))
    features = jr.normal(jr.key(3), (200, 64))
    spread = jnp.std(layer.latent_charges(features, jnp.ones(200, bool)))
    assert abs(spread - 0.1) < 0.01
    assert abs(layer.current_sigma() - 1.0) < 1e-12 and layer.sigma_min == 0.75
    assert LatentEwald(4, key=jr.key(2)).current_sigma() == 1.0


def test_plans_cover_every_value_of_a_trained_width(batch):
    layer = LatentEwald(CHANNELS, learn_sigma=True, key=jr.key(1))
    narrow = eqx.tree_at(lambda x: x.raw_sigma, layer, jnp.array(-50.0))
    features, positions, cells, mask = (x[0] for x in batch)
    plans = [
        x.plan_for(cells[None], positions[None], mask[None]) for x in (layer, narrow)
    ]
    assert jax.tree.structure(plans[0]) == jax.tree.structure(plans[1])
    assert jnp.all(jnp.isfinite(narrow(features, positions, cells, mask)[1]))


def test_plans_take_a_margin_and_traced_cells_need_one(batch):
    layer = LatentEwald(CHANNELS, key=jr.key(1))
    features, positions, cells, mask = batch
    plan = layer.plan_for(cells, positions, mask, margin=0.1)
    assert plan.covers(cells, positions).all()
    assert plan.covers(1.09 * cells, positions).all()
    narrow = layer.plan_for(cells, positions, mask)
    assert not narrow.covers(1.09 * cells, positions).any()
    with pytest.raises(ValueError, match="The cell is traced.*pass it as `plan`"):
        jax.jit(lambda *a: layer(*a))(features[0], positions[0], cells[0], mask[0])


def test_bad_settings_raise_errors():
    with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
        LatentEwald(0, key=jr.key(0))
    with pytest.raises(ValueError, match="`sigma` is a width and must be positive"):
        LatentEwald(2, sigma=-1.0, key=jr.key(0))
    with pytest.raises(ValueError, match="`tolerance` is a relative error .* got 0.0"):
        LatentEwald(2, tolerance=0.0, key=jr.key(0))
    with pytest.raises(ValueError, match="`dl` is a wavelength .* got -2.0"):
        LatentEwald(2, dl=-2.0, key=jr.key(0))


def test_float32_stays_float32_and_is_accurate(evaluate):
    rng = np.random.default_rng(0)
    q, r = rng.normal(size=40), rng.uniform(-20, 20, (40, 3))
    cell = np.array([[11.0, 0, 0], [2, 10.0, 0], [-1, 3, 12.0]])
    for lattice in (None, cell):
        exact = evaluate(
            jnp.asarray(q),
            jnp.asarray(r),
            None if lattice is None else jnp.asarray(cell),
        )
        with jax.enable_x64(False):
            arrays = [jnp.asarray(x, jnp.float32) for x in (q, r)]
            small = None if lattice is None else jnp.asarray(cell, jnp.float32)
            plan = KGrid.for_structures(small, r)
            single = jax.jit(lambda *a, g=plan: energy(*a, plan=g))(*arrays, small)
            assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, exact, rtol=1e-5, atol=3e-5)


WITH_MOMENTS = [
    {"multipoles": 1, "charge_channels": 2},
    {"multipoles": 2, "kernel": lambda: InverseSixth()},
    {"kernel": lambda: GaussianSum(np.array([0.7, -0.4]), np.array([1.1, 2.0]))},
]


@pytest.mark.parametrize("options", WITH_MOMENTS, ids=["dipoles", "both", "Gaussians"])
@pytest.mark.parametrize("method", ["direct", "mesh"])
def test_moments_kernels_and_meshes_train(batch, options, method):
    options = {k: v() if k == "kernel" else v for k, v in options.items()}
    options = options | {"method": method, "learn_sigma": True, "tolerance": 1e-5}
    layer = perturbed(LatentEwald(CHANNELS, key=jr.key(1), **options))
    _, positions, cells, mask = batch
    features = jr.normal(jr.key(0), (3, 6, (layer.degree + 1) ** 2, CHANNELS))
    features = features[:, :, 0] if layer.degree == 0 else features
    plan = layer.plan_for(cells, positions, mask)
    assert isinstance(plan, Mesh if method == "mesh" else KGrid)

    @jax.jit
    def results(layer):
        return over_graphs(layer, features, positions, cells, mask, plan)

    update, energies, charges = results(layer)
    assert update.shape == features.shape and not jnp.any(update)
    assert not jnp.any(energies[~mask]) and not jnp.any(charges[~mask])
    loss = lambda layer: jnp.sum(results(layer)[1] ** 2)
    for slope in map(np.asarray, jax.tree.leaves(jax.jit(jax.grad(loss))(layer))):
        assert np.all(np.isfinite(slope)) and np.all(slope != 0)


def test_moments_from_harmonics_of_a_vector():
    """Degrees 1 and 2 of a vector give the vector and its traceless square."""
    layer = LatentEwald(1, multipoles=2, key=jr.key(1))
    x, y, z = v = jnp.array([0.3, -1.1, 0.7])
    second = [
        3**0.5 * x * z,
        3**0.5 * x * y,
        y * y - (x * x + z * z) / 2,
        3**0.5 * y * z,
        3**0.5 / 2 * (z * z - x * x),
    ]
    features = jnp.array([1.0, *v, *second])[None, :, None]
    moments = layer.latent_moments(features, jnp.ones(1, bool))
    w = [layer.weight, *layer.moment_weights]
    np.testing.assert_allclose(moments.charges, w[0], rtol=1e-12)
    np.testing.assert_allclose(moments.dipoles[0, 0], w[1][0] * v, rtol=1e-12)
    square = jnp.outer(v, v) - jnp.sum(v * v) * jnp.eye(3) / 3
    np.testing.assert_allclose(
        moments.quadrupoles[0, 0],
        w[2][0, 0] * 1.5**0.5 * square,
        rtol=1e-12,
        atol=1e-12,
    )


def test_features_of_another_degree_raise_errors(batch):
    features, positions, cells, mask = (x[0] for x in batch)
    layer = LatentEwald(CHANNELS, multipoles=1, key=jr.key(1))
    with pytest.raises(
        ValueError, match=r"degree 1 and . channels have shape \[6, 4, .\]"
    ):
        layer(features, positions, cells, mask)
    with pytest.raises(ValueError, match="`multipoles` is 0.*got 3"):
        LatentEwald(CHANNELS, multipoles=3, key=jr.key(1))
    with pytest.raises(ValueError, match="`method` is .* got 'mesh' and dl=2.0"):
        LatentEwald(CHANNELS, method="mesh", dl=2.0, key=jr.key(1))
