"""The layer: interface, physics, parameters and single precision."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_celli import (
    COULOMB_CONSTANT,
    ChargeEquilibration,
    Ewald,
    ParticleMesh,
    coulomb_matrix,
    equilibrate,
)

CHANNELS = 5
OPEN_AND_PERIODIC = pytest.mark.parametrize("boundary", ["open", "periodic"])


@eqx.filter_jit
def make_layer(**options):
    options = {"hidden": (8,), "tolerance": 1e-6} | options
    return ChargeEquilibration(CHANNELS, key=jr.key(1), **options)


@eqx.filter_jit
def evaluate_batch(layer, batch, plan):
    def evaluate(graph, plan):
        return layer(**graph, plan=plan, spin=None)

    return jax.vmap(evaluate)(batch, plan)


def evaluate(layer, batch, plan):
    return jax.device_get(evaluate_batch(layer, batch, plan))


def with_plan(layer, batch, boundary="periodic"):
    if boundary == "open":
        batch = batch | {"cell": None}
    return batch, layer.plan_for(batch["cell"], batch["positions"], batch["mask"])


OPTIONS = {
    "published": {},
    "total": {"energy": "total", "environment_hardness": True, "hidden": ()},
    "iterative": {"solver": "iterative", "width_bounds": (0.1, 1.3)},
}


@pytest.mark.parametrize("options", OPTIONS)
@OPEN_AND_PERIODIC
def test_layer_interface(batch, options, boundary, perturbed):
    layer = perturbed(make_layer(**OPTIONS[options]))
    batch, plan = with_plan(layer, batch, boundary)
    assert layer.degree == 0 and (plan is None) == (boundary == "open")
    results = evaluate(layer, batch, plan)
    mask = batch["mask"]
    assert results[0].shape == batch["features"].shape
    for result in results:
        assert not np.any(result[~mask]) and np.all(result[mask] != 0)
    sums = np.sum(results[2], axis=1)
    assert np.max(np.abs(sums - batch["total_charge"])) < 1e-12
    # A graph does not depend on other graphs of the batch.
    order = np.array([2, 0, 1])
    permuted = jax.tree.map(lambda x: np.asarray(x)[order], (batch, plan))
    for actual, expected in zip(evaluate(layer, *permuted), results, strict=True):
        np.testing.assert_allclose(actual, expected[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
def test_charges_and_energies_are_those_of_the_kernels(
    batch, options, perturbed, select
):
    layer = perturbed(make_layer(**OPTIONS[options]))
    results = evaluate(layer, *with_plan(layer, batch))

    @eqx.filter_jit
    def charges_and_energies(layer, features, species, positions, cell, plan, total):
        chi = layer.electronegativity(features)
        hardness, widths = layer.hardness(species, features), layer.width(species)
        coulomb = coulomb_matrix(widths, positions, cell, plan=plan)
        charges = equilibrate(chi, hardness, coulomb, total)
        energies = charges * (coulomb @ charges) / 2
        if layer.energy == "total":
            energies += charges * (chi + hardness * charges / 2)
        return charges, energies

    for g, atoms in ((0, 6), (1, 4)):
        graph = select(batch, g)
        names = ("features", "species", "positions")
        h, z, r = (np.asarray(graph[k])[:atoms] for k in names)
        plan = Ewald.for_structures(graph["cell"], r, tolerance=1e-6)
        charges, energies = charges_and_energies(
            layer, h, z, r, graph["cell"], plan, graph["total_charge"]
        )
        # Two lattice sums of tolerance 1e-6 in units of 14.4 eV/e².
        np.testing.assert_allclose(results[2][g, :atoms], charges, atol=1e-5)
        np.testing.assert_allclose(results[1][g, :atoms], energies, atol=1e-4)


@pytest.mark.parametrize(
    ("energy", "boundary"),
    [("coulomb", "periodic"), ("total", "open")],
)
def test_every_parameter_has_a_gradient_from_forces(batch, energy, boundary, perturbed):
    layer = perturbed(make_layer(energy=energy, environment_hardness=True))
    positions = batch["positions"].copy()
    positions[1, 4:], positions[2] = positions[1, 0], 0.0
    batch, plan = with_plan(layer, batch | {"positions": positions}, boundary)

    def total(layer, positions, cell):
        strained = batch | {"positions": positions, "cell": cell}
        update, energies, _ = evaluate_batch(layer, strained, plan)
        return jnp.sum(energies), update

    def loss(layer, positions, cell):
        gradients, update = jax.grad(total, (1, 2), has_aux=True)(
            layer, positions, cell
        )
        forces, stress = gradients
        stress = 0.0 if stress is None else jnp.sum(stress**2)
        return jnp.sum(forces**2) + stress + jnp.sum(update**2)

    arguments = layer, positions, batch["cell"]
    gradients = jax.device_get(jax.jit(jax.grad(loss, (0, 1, 2)))(*arguments))
    for path, leaf in jax.tree.leaves_with_path(gradients[0]):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0), path
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients))
    assert not np.any(gradients[1][~batch["mask"]])


def test_forces_and_stress_to_second_order(batch, check_derivatives, perturbed, select):
    layer = perturbed(make_layer(tolerance=1e-3))
    graph = select(batch, 0)
    plan = layer.plan_for(
        *(batch[k][:1] for k in ("cell", "positions", "mask")), margin=0.1
    )
    plan = select(plan, 0)

    def value(positions, strain):
        deformation = jnp.eye(3) + strain
        strained = {
            "positions": positions @ deformation,
            "cell": graph["cell"] @ deformation,
        }
        update, energies, charges = layer(**(graph | strained), plan=plan)
        return jnp.sum(energies) + jnp.sum(charges**3) + jnp.sum(update**2)

    check_derivatives(value, graph["positions"], np.zeros((3, 3)))


def test_the_published_energy_has_no_direct_gradient_in_the_widths(batch, select):
    """With a large hardness the charges are constant and only that term remains."""
    graph = select(batch, 0) | {"cell": None}

    def largest_gradient(energy):
        layer = make_layer(energy=energy)
        large = jnp.asarray(np.asarray(layer.raw_hardness) + 1e9)
        layer = eqx.tree_at(lambda x: x.raw_hardness, layer, large)
        total = lambda layer: jnp.sum(layer(**graph)[1])
        return np.max(np.abs(jax.jit(jax.grad(total))(layer).raw_width))

    assert largest_gradient("coulomb") < 1e-6 < 0.01 < largest_gradient("total")


def test_the_solver_depends_on_the_number_of_slots(batch):
    layers = {s: make_layer(solver=s) for s in ("dense", "iterative", "auto")}
    plans = [type(with_plan(x, batch)[1]) for x in layers.values()]
    assert plans == [Ewald, ParticleMesh, Ewald]
    positions = 30 * np.asarray(jr.uniform(jr.key(0), (1, 2500, 3)))
    mask = np.arange(2500)[None] < 100
    plan = layers["auto"].plan_for(30 * np.eye(3)[None], positions, mask)
    assert isinstance(plan, ParticleMesh)


def test_initial_parameters(batch):
    layer = make_layer()
    species = jnp.array([1, 6, 8])
    hardness = np.asarray(layer.hardness(species))
    np.testing.assert_allclose(layer.width(species), [0.31, 0.76, 0.66], rtol=1e-6)
    np.testing.assert_allclose(hardness, 14.4, rtol=1e-6)
    # k_e/(sigma sqrt(pi)) at covalent radii, from the published table.
    self_interaction = np.asarray(layer.full_hardness(species)) - hardness
    np.testing.assert_allclose(self_interaction, [26.2, 10.7, 12.3], atol=0.05)
    update, _, charges = evaluate(layer, *with_plan(layer, batch))
    assert not np.any(update) and np.std(charges[0]) > 0.01


def test_widths_are_clipped_to_their_bounds(batch):
    layer = make_layer(width_bounds=(0.4, 2.0))
    bounds = layer.width(jnp.array([1, 6, 55]))
    np.testing.assert_allclose(bounds, [0.4, 0.76, 2.0], rtol=1e-6)
    results = evaluate(layer, *with_plan(layer, batch))
    assert all(np.all(np.isfinite(x)) for x in results)


def test_environment_hardness_depends_on_the_scalars(batch, perturbed):
    layer = perturbed(make_layer(environment_hardness=True))
    species, features = jnp.array([6, 6]), batch["features"][0, :2]
    first, second = eqx.filter_jit(layer.hardness)(species, features)
    assert abs(first - second) > 1e-3
    with pytest.raises(ValueError, match="depends on the environment: pass `features`"):
        layer.hardness(species)


def test_plans_have_a_margin_and_traced_cells_need_a_plan(batch, select):
    layer = make_layer(tolerance=1e-3)
    cells = batch["cell"]
    arguments = cells, batch["positions"], batch["mask"]
    plan = layer.plan_for(*arguments, margin=0.1)
    assert plan.covers(*arguments).all()
    assert plan.covers(1.09 * cells, *arguments[1:]).all()
    plan = layer.plan_for(*arguments)
    assert plan.covers(1.09 * cells, *arguments[1:]).tolist() == [False, False, True]
    strained = batch | {"cell": 1.09 * cells}
    assert np.all(np.isnan(evaluate(layer, strained, plan)[1][0]))
    with pytest.raises(ValueError, match="The cell is traced.*pass it as `plan`"):
        jax.jit(lambda graph: layer(**graph))(select(batch, 0))


def test_padding_graphs_need_no_terms(batch):
    layer = make_layer()
    arguments = batch["cell"], batch["positions"], batch["mask"]
    with_padding = layer.plan_for(*arguments)
    without_padding = layer.plan_for(*(x[:2] for x in arguments))
    assert with_padding.images.shape[1:] == without_padding.images.shape[1:]
    assert with_padding.indices.shape[1:] == without_padding.indices.shape[1:]


def test_elements_without_a_radius_raise_or_are_nan(batch, select):
    layer = make_layer()
    for z in (97, 118, 119):
        with pytest.raises(ValueError, match=f"Element {z} has no published covalent"):
            layer.width(jnp.array([1, z]))
    graph = select(batch, 0) | {"cell": None}
    species = np.where(np.arange(6) == 0, 118, graph["species"])
    energies = jax.jit(lambda graph: layer(**graph)[1])(graph | {"species": species})
    assert np.all(np.isnan(energies))


def test_float32_is_preserved_and_accurate(batch, perturbed):
    layer = perturbed(make_layer())
    exact = evaluate(layer, *with_plan(layer, batch))
    layer = jax.tree.map(lambda x: np.asarray(x, np.float32), layer)
    single = jax.tree.map(
        lambda x: x.astype(np.float32) if x.dtype == float else x, batch
    )
    with jax.enable_x64(False):
        single = jax.tree.map(jnp.asarray, single)
        layer = jax.tree.map(jnp.asarray, layer)
        actual = evaluate(layer, *with_plan(layer, single))
        assert all(x.dtype == np.float32 for x in actual)
    for a, b in zip(actual, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    sums = np.sum(np.asarray(actual[2], float), axis=1)
    np.testing.assert_allclose(sums, batch["total_charge"], atol=1e-5)


def test_distant_fragments_interact_by_their_total_charges(batch, select):
    """Their interaction energy is that of two ions, whatever the charges in each."""
    layer = make_layer(hidden=())
    graph = select(batch, 0) | {"cell": None}
    shift = np.where(np.arange(6) < 3, 0.0, 1e5)[:, None] * np.array([1.0, 0, 0])
    separated = graph | {"positions": jnp.asarray(graph["positions"] + shift)}
    call = eqx.filter_jit(layer)
    _, energies, charges = jax.device_get(call(**separated))
    total, parts = charges.reshape(2, 3).sum(axis=1), []
    for half, charge in zip((slice(0, 3), slice(3, 6)), total, strict=True):
        part = {
            k: jnp.asarray(np.asarray(v)[half]) if v.ndim else v
            for k, v in graph.items()
            if v is not None
        }
        part |= {"cell": None, "total_charge": jnp.asarray(charge)}
        parts.append(np.sum(call(**part)[1]))
    between = COULOMB_CONSTANT * math.prod(total)
    difference = np.sum(energies) - sum(parts)
    np.testing.assert_allclose(difference, between / 1e5, rtol=1e-3)
