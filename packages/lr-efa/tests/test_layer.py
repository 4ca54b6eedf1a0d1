"""The layer: its contract, its parameters, its boundaries, and float32."""

import warnings

import e3nn_jax as e3nn
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_efa import (
    EuclideanFastAttention,
    OpenPlan,
    attend,
    frequency_grid,
    lebedev_grid,
)
from lr_efa._linear import gated_gelu

CHANNELS = 4
OPTIONS = {"omega_max": 1.5, "qk_size": 4, "v_size": 3, "shell_thickness": 0.3}


def perturbed(layer):
    """The layer with random changes of all parameters."""
    leaves, tree = jax.tree.flatten(layer)
    keys = jr.split(jr.key(9), len(leaves))
    moved = [x + 0.3 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


def make_layer(degree=0, **options):
    return EuclideanFastAttention(
        CHANNELS, degree=degree, key=jr.key(1), **(OPTIONS | options)
    )


@pytest.fixture
def batch(structure):
    """Three graphs of six slots: six atoms, four atoms, no atoms."""
    cells = jnp.stack([6.5 * jnp.eye(3), jnp.diag(jnp.array([4.0, 5, 7])), jnp.eye(3)])
    positions = jnp.stack([structure(seed=s)[3] for s in range(3)])
    mask = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])

    def make(degree):
        shape = (CHANNELS,) if degree == 0 else ((degree + 1) ** 2, CHANNELS)
        return jr.normal(jr.key(0), (3, 6, *shape)), positions, cells, mask

    return make


@eqx.filter_jit
def over_graphs(layer, features, positions, cells, mask, plan):
    def one(f, p, c, m, z, charge, plan):
        return layer(f, p, c, m, species=z, total_charge=charge, plan=plan, spin=None)

    species, charge = jnp.ones(mask.shape, int), jnp.zeros(len(mask))
    return jax.vmap(one)(features, positions, cells, mask, species, charge, plan)


@eqx.filter_jit
def compiled(layer, features, positions, cell, mask, plan):
    return layer(features, positions, cell, mask, plan=plan)[0]


def update_of(layer, features, positions, cell, mask):
    """The update of one structure, with a plan made for it."""
    plan = layer.plan(cell, positions, mask)
    return compiled(layer, features, positions, cell, mask, plan)


CASES = {
    "two heads": (0, {"num_heads": 2, "method": "quadrature"}),
    "normalized": (0, {"normalize": "always"}),
    "vectors": (1, {"learn_coupling": True}),
    "second degree": (
        2,
        {"method": "quadrature", "quadrature_grid": lebedev_grid(18.0, degree=2)},
    ),
}


def at_boundary(cells, boundary, options):
    """Returns the cells to pass and the options of the layer."""
    if boundary == "open":
        return None, options
    return cells, options | ({"boundary": "ignore"} if boundary == "ignored" else {})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("boundary", ["periodic", "open", "ignored"])
def test_contract(batch, case, boundary):
    degree, options = CASES[case]
    features, positions, cells, mask = batch(degree)
    cells, options = at_boundary(cells, boundary, options)
    layer = perturbed(make_layer(degree, **options))
    plan = layer.plan_for(cells, positions, mask)
    arguments = features, positions, cells, mask
    update, energies, charges = over_graphs(layer, *arguments, plan)
    assert layer.degree == degree
    assert update.shape == features.shape and update.dtype == features.dtype
    assert energies.shape == charges.shape == mask.shape
    assert not np.any(np.asarray(energies)) and not np.any(np.asarray(charges))
    update, real = np.asarray(update), np.asarray(mask)
    assert np.all(update[~real] == 0) and np.all(update[real] != 0)
    changed = jnp.asarray(np.where(real[..., None], positions, 1e7))
    with_other_padding = over_graphs(layer, features, changed, cells, mask, plan)[0]
    np.testing.assert_array_equal(with_other_padding, update)
    inputs = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[1:2]), arguments)
    single_plan = layer.plan_for(inputs[2], inputs[1], inputs[3])
    single = over_graphs(layer, *inputs, single_plan)[0][0]
    # The quadrature grid made for one graph is smaller, with the same accuracy.
    np.testing.assert_allclose(update[1], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["two heads", "normalized", "vectors"])
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_every_parameter_trains_on_forces(batch, case, boundary):
    degree, options = CASES[case]
    features, positions, cells, mask = batch(degree)
    positions = positions.at[1, 4:].set(positions[1, 0]).at[2].set(0.0)
    cells, options = at_boundary(cells, boundary, options)
    layer = perturbed(make_layer(degree, **options))
    plan = layer.plan_for(cells, positions, mask)

    def total(layer, positions):
        return jnp.sum(
            over_graphs(layer, features, positions, cells, mask, plan)[0] ** 2
        )

    def loss(layer, positions):
        return jnp.sum(jax.grad(total, 1)(layer, positions) ** 2)

    gradients = jax.jit(jax.grad(loss, (0, 1)))(layer, positions)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
    for path, leaf in jax.tree_util.tree_flatten_with_path(gradients[0])[0]:
        # A few weights do not affect forces.
        assert np.mean(np.asarray(leaf) != 0) > 0.9, path
    assert not np.any(np.asarray(gradients[1])[~np.asarray(mask)])


def test_a_new_layer_changes_nothing_but_learns(batch):
    features, positions, _, mask = (x[0] for x in batch(0))
    layer = make_layer()
    update = eqx.filter_jit(lambda layer: layer(features, positions, None, mask)[0])
    assert not np.any(np.asarray(update(layer)))
    slope = jax.jit(jax.grad(lambda layer: jnp.sum(update(layer))))(layer)
    assert jnp.all(slope.output != 0)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_updates_of_every_degree_are_equivariant(batch, axes, close, boundary):
    features, positions, cells, mask = (x[0] for x in batch(2))
    cell = cells if boundary == "periodic" else None
    layer = perturbed(make_layer(2, learn_coupling=True, num_heads=2))
    matrix = axes(True)
    irreps = np.asarray(e3nn.Irreps("0e+1o+2e").D_from_matrix(matrix))
    rotate = lambda x: jnp.asarray(np.einsum("st,ntc->nsc", irreps, np.asarray(x)))
    rotated_cell = None if cell is None else cell @ matrix.T
    update = update_of(
        layer, rotate(features), positions @ matrix.T, rotated_cell, mask
    )
    expected = update_of(layer, features, positions, cell, mask)
    close(update, rotate(expected), 1e-11)


def test_the_update_of_scalars_is_the_kernel_between_linear_maps(batch, close):
    features, positions, _, mask = (x[1] for x in batch(0))
    layer = perturbed(make_layer(method="exact"))
    q, k = (
        jax.nn.gelu(features @ weights[0], approximate=False)
        for weights in (layer.query, layer.key)
    )
    omegas = frequency_grid(2, 1.5)
    np.testing.assert_array_equal(layer.frequencies(), omegas)
    attended = attend(
        q,
        k,
        features @ layer.value[0],
        positions,
        frequencies=omegas,
        mask=mask,
        method="exact",
    )
    expected = attended @ layer.output[0]
    close(layer(features, positions, None, mask)[0], expected, 1e-12)


def test_vectors_are_gated_by_the_scalars_of_their_channels():
    features = jr.normal(jr.key(2), (5, 4, 3))
    gated = gated_gelu(features)
    np.testing.assert_allclose(
        gated[:, 0], jax.nn.gelu(features[:, 0], approximate=False), rtol=1e-12
    )
    gate = gated[:, 0] / features[:, 0]
    np.testing.assert_allclose(gated[:, 2], features[:, 2] * gate, rtol=1e-12)


def test_updates_in_a_small_cell_depend_on_positions(batch):
    # No reciprocal vector of a cell of 8 Å is within the published frequencies, pi / 10
    # Å.
    features, positions, _, mask = (x[0] for x in batch(0))
    cell = 8.0 * jnp.eye(3)
    moved = positions.at[0].add(jnp.array([0.5, 0.2, 0.0]))
    changes = {}
    for omega_max, thickness in ((2.0, 0.15), (np.pi / 10, 0.01)):
        layer = perturbed(
            make_layer(omega_max=omega_max, shell_thickness=thickness, qk_size=16)
        )
        plan = layer.plan(cell, positions, mask)
        update = lambda r, layer=layer: update_of(layer, features, r, cell, mask)
        change = jnp.max(jnp.abs(update(moved) - update(positions)))
        changes[omega_max] = change / jnp.max(jnp.abs(update(positions)))
        assert plan.num_empty == (7 if omega_max < 1 else 0)
    assert changes[2.0] > 1e-2 and changes[np.pi / 10] < 1e-12


def test_wrapping_changes_the_update_only_if_cells_are_ignored(batch, close):
    features, positions, cells, mask = (x[0] for x in batch(0))
    wrapped = positions.at[0].add(cells[1])
    for boundary in ("cell", "ignore"):
        layer = perturbed(make_layer(boundary=boundary))
        update = lambda r, cell, layer=layer: layer(features, r, cell, mask)[0]
        inside, outside = update(positions, cells), update(wrapped, cells)
        if boundary == "cell":
            close(outside, inside, 1e-11)
        else:
            assert jnp.max(jnp.abs(outside - inside)) > 1e-2
            close(inside, update(positions, None), 1e-14)


def test_plans_cover_the_extent_of_molecules(batch, close):
    features, positions, _, mask = (x[:2] for x in batch(0))
    layer = perturbed(make_layer(method="quadrature"))
    plan = layer.plan_for(None, positions, mask)
    assert isinstance(plan, OpenPlan) and not jax.tree.leaves(plan)
    large = layer.plan_for(None, 3 * positions, mask)
    assert large.grid.order > plan.grid.order
    empty = layer.plan_for(None, jnp.full((2, 6, 3), jnp.nan), mask & False)
    assert empty.grid.order == 5
    # The grid of the layer is replaced for larger molecules only.
    with_grid = make_layer(method="quadrature", quadrature_grid=plan.grid)
    assert with_grid.plan_for(None, 0.9 * positions, mask) == plan
    assert with_grid.plan_for(None, 3 * positions, mask) == large
    assert make_layer(method="exact").plan_for(None, positions, mask) is None
    assert make_layer().plan_for(None, positions, mask) is None
    update = over_graphs(layer, features, positions, None, mask, plan)[0]
    exact = eqx.tree_at(lambda x: x.value, make_layer(method="exact"), layer.value)
    exact = eqx.tree_at(
        lambda x: (x.query, x.key, x.output),
        exact,
        (layer.query, layer.key, layer.output),
    )
    close(update, over_graphs(exact, features, positions, None, mask, None)[0], 1e-4)


def test_plans_of_crystals_take_a_margin(batch):
    _, positions, cells, mask = batch(0)
    layer = make_layer()
    layer_plan = make_layer(method="quadrature").plan
    plan = layer.plan_for(cells, positions, mask, margin=0.1)
    assert plan.covers(1.09 * cells, positions).all()
    narrow = layer.plan_for(cells, positions, mask)
    assert not narrow.covers(1.09 * cells, positions).any()
    molecules = [layer_plan(None, positions[0], margin=m) for m in (0.05, 0.1, 2.0)]
    extents = [plan.max_extent for plan in molecules]
    assert extents[0] == extents[1] < extents[2]


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_float32_is_kept_accurate_and_translation_invariant(boundary):
    rng = np.random.default_rng(0)
    features, positions = rng.normal(size=(40, CHANNELS)), rng.uniform(-9, 9, (40, 3))
    cell = np.array([[11.0, 0, 0], [2, 10.0, 0], [-1, 3, 12.0]])
    mask, lattice = jnp.ones(40, bool), cell if boundary == "periodic" else None
    layer = perturbed(
        make_layer(method="quadrature", quadrature_grid=lebedev_grid(60.0))
    )

    @eqx.filter_jit
    def update(layer, plan, features, positions, lattice):
        return layer(features, positions, lattice, mask, plan=plan)[0]

    def evaluate(dtype, shift=0.0):
        cast = lambda x: jnp.asarray(x, dtype)
        arrays = jax.tree.map(cast, (features, positions + shift, lattice))
        plan = layer.plan(arrays[2], arrays[1], mask)
        return update(jax.tree.map(cast, layer), plan, *arrays)

    exact = evaluate(float)
    with jax.enable_x64(False):
        updates = [evaluate(jnp.float32, shift) for shift in (0.0, 37.0)]
    scale = np.max(np.abs(exact))
    for single, tolerance in zip(updates, (1e-5, 1e-4), strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, exact, atol=tolerance * scale)


def test_coarse_grids_cause_a_warning_and_fine_ones_do_not():
    with pytest.warns(UserWarning, match="plane waves to 0.001 only, not 1e-05"):
        make_layer(quadrature_grid=lebedev_grid(3.0, 1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_layer(quadrature_grid=lebedev_grid(3.0, 1e-6))
