"""The layer: its contract, its physics, its parameters, and float32."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ase.data import covalent_radii
from lr_celli import (
    COULOMB_CONSTANT,
    COVALENT_RADII,
    ChargeEquilibration,
    Ewald,
    ParticleMesh,
    coulomb_matrix,
    equilibrate,
)

CHANNELS = 5
OPEN_AND_PERIODIC = pytest.mark.parametrize("boundary", ["open", "periodic"])


def perturbed(layer):
    """Every parameter away from its initial value."""
    leaves, tree = jax.tree.flatten(layer)
    keys = jr.split(jr.key(9), len(leaves))
    moved = [x + 0.1 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


def fresh(**options):
    options = {"hidden": (8,), "tolerance": 1e-6} | options
    return ChargeEquilibration(CHANNELS, key=jr.key(1), **options)


@pytest.fixture
def batch(structure):
    """Three graphs of six slots: full, partly filled, and padding."""
    cells = jnp.stack([6.5 * jnp.eye(3), jnp.diag(jnp.array([4.0, 5, 7])), jnp.eye(3)])
    cells = cells.at[1, 1, 0].set(1.3)
    positions = jnp.stack([structure(seed=s)[0] for s in range(3)])
    mask = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    species = jnp.where(mask, jnp.array([1, 6, 8, 30, 55, 1]), 0)
    features = jr.normal(jr.key(0), (3, 6, CHANNELS))
    charge = jnp.array([1.0, -2.0, 0.0])
    return {
        "features": features,
        "positions": positions,
        "cell": cells,
        "mask": mask,
        "species": species,
        "total_charge": charge,
    }


@eqx.filter_jit
def over_graphs(layer, batch, plan):
    def one(batch, plan):
        return layer(**batch, plan=plan, spin=None)

    return jax.vmap(one)(batch, plan)


def planned(layer, batch, boundary="periodic"):
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
def test_contract(batch, options, boundary):
    layer = perturbed(fresh(**OPTIONS[options]))
    batch, plan = planned(layer, batch, boundary)
    assert layer.degree == 0 and (plan is None) == (boundary == "open")
    results = over_graphs(layer, batch, plan)
    mask = batch["mask"]
    assert results[0].shape == batch["features"].shape
    for result in results:
        assert not jnp.any(result[~mask]) and jnp.all(result[mask] != 0)
    sums = jnp.sum(results[2], axis=1)
    assert jnp.max(jnp.abs(sums - batch["total_charge"])) < 1e-12
    # A graph does not depend on its neighbours in the batch.
    order = jnp.array([2, 0, 1])
    turned = jax.tree.map(lambda x: x[order], (batch, plan))
    for found, expected in zip(over_graphs(layer, *turned), results, strict=True):
        np.testing.assert_allclose(found, expected[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
def test_charges_and_energies_are_those_of_the_kernels(batch, options):
    layer = perturbed(fresh(**OPTIONS[options]))
    results = over_graphs(layer, *planned(layer, batch))
    for g, atoms in ((0, 6), (1, 4)):
        one = jax.tree.map(lambda x, g=g: x[g], batch)
        h, z, r = (one[k][:atoms] for k in ("features", "species", "positions"))
        chi, hardness = layer.electronegativity(h), layer.hardness(z, h)
        ewald = Ewald.for_cells(one["cell"], tolerance=1e-6)
        coulomb = coulomb_matrix(r, layer.width(z), one["cell"], ewald=ewald)
        charges = equilibrate(chi, hardness, coulomb, one["total_charge"])
        # Two lattice sums of tolerance 1e-6 in units of 14.4 eV/e².
        np.testing.assert_allclose(results[2][g, :atoms], charges, atol=1e-5)
        energies = charges * (coulomb @ charges) / 2
        if layer.energy == "total":
            energies += charges * (chi + hardness * charges / 2)
        np.testing.assert_allclose(results[1][g, :atoms], energies, atol=1e-4)


@pytest.mark.parametrize(
    ("energy", "boundary"),
    [("coulomb", "periodic"), ("total", "open")],
)
def test_every_parameter_trains_on_forces(batch, energy, boundary):
    layer = perturbed(fresh(energy=energy, environment_hardness=True))
    positions = batch["positions"]
    positions = positions.at[1, 4:].set(positions[1, 0]).at[2].set(0.0)
    batch, plan = planned(layer, batch | {"positions": positions}, boundary)

    def total(layer, positions, cell):
        moved = batch | {"positions": positions, "cell": cell}
        return jnp.sum(over_graphs(layer, moved, plan)[1])

    def loss(layer, positions, cell):
        forces, stress = jax.grad(total, (1, 2))(layer, positions, cell)
        update = over_graphs(layer, batch, plan)[0]
        stress = 0.0 if stress is None else jnp.sum(stress**2)
        return jnp.sum(forces**2) + stress + jnp.sum(update**2)

    arguments = layer, positions, batch["cell"]
    gradients = jax.jit(jax.grad(loss, (0, 1, 2)))(*arguments)
    for path, leaf in jax.tree.leaves_with_path(gradients[0]):
        assert jnp.all(jnp.isfinite(leaf)) and jnp.any(leaf != 0), path
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradients))
    assert not jnp.any(gradients[1][~batch["mask"]])


def test_forces_and_stress_to_second_order(batch, check_derivatives):
    layer = perturbed(fresh())
    one = jax.tree.map(lambda x: x[0], batch)
    plan = layer.plan_for(
        one["cell"][None], one["positions"][None], one["mask"][None], margin=0.1
    )
    plan = jax.tree.map(lambda x: x[0], plan)

    def value(positions, strain):
        deform = jnp.eye(3) + strain
        moved = {"positions": positions @ deform, "cell": one["cell"] @ deform}
        update, energies, charges = layer(**(one | moved), plan=plan)
        return jnp.sum(energies) + jnp.sum(charges**3) + jnp.sum(update**2)

    check_derivatives(value, one["positions"], jnp.zeros((3, 3)))


def test_the_published_energy_sends_no_gradient_into_widths(batch):
    """At great hardness the charges do not move, so nothing else is left."""
    one = jax.tree.map(lambda x: x[0], batch) | {"cell": None}

    def slope(energy):
        layer = fresh(energy=energy)
        hard = layer.raw_hardness + 1e9
        layer = eqx.tree_at(lambda x: x.raw_hardness, layer, hard)
        total = lambda layer: jnp.sum(layer(**one)[1])
        return jnp.max(jnp.abs(jax.jit(jax.grad(total))(layer).raw_width))

    assert slope("coulomb") < 1e-6 < 0.01 < slope("total")


def test_the_solver_follows_the_size(batch):
    layers = {s: fresh(solver=s) for s in ("dense", "iterative", "auto")}
    kinds = [type(planned(x, batch)[1]) for x in layers.values()]
    assert kinds == [Ewald, ParticleMesh, Ewald]
    large = 30 * jnp.eye(3)[None], 30 * jr.uniform(jr.key(0), (1, 2500, 3))
    plan = layers["auto"].plan_for(*large, jnp.ones((1, 2500), bool))
    assert isinstance(plan, ParticleMesh)


def test_a_fresh_layer_starts_where_it_should(batch):
    layer = fresh()
    species = jnp.array([1, 6, 8])
    np.testing.assert_allclose(layer.width(species), [0.31, 0.76, 0.66], rtol=1e-6)
    np.testing.assert_allclose(layer.hardness(species), 14.4, rtol=1e-6)
    # k_e/(sigma sqrt(pi)) at covalent radii, as tabulated with the method.
    own = layer.full_hardness(species) - layer.hardness(species)
    np.testing.assert_allclose(own, [26.2, 10.7, 12.3], atol=0.05)
    update, _, charges = over_graphs(layer, *planned(layer, batch))
    assert not jnp.any(update) and jnp.std(charges[0]) > 0.01


def test_fresh_electronegativities_have_the_scale_asked_for():
    layer = ChargeEquilibration(64, scale=3.0, key=jr.key(2))
    chi = layer.electronegativity(jr.normal(jr.key(3), (2000, 64)))
    # One draw of the weights: the spread varies by about the root of 2/64.
    assert abs(jnp.std(chi) / 3.0 - 1) < 0.5


def test_radii_are_those_of_ase():
    np.testing.assert_array_equal(COVALENT_RADII[1:97], covalent_radii[1:97])
    assert np.isnan(COVALENT_RADII[97:]).all() and len(COVALENT_RADII) == 119


def test_widths_stay_within_their_bounds(batch):
    layer = fresh(width_bounds=(0.4, 2.0))
    bounds = layer.width(jnp.array([1, 6, 55]))
    np.testing.assert_allclose(bounds, [0.4, 0.76, 2.0], rtol=1e-6)
    results = over_graphs(layer, *planned(layer, batch))
    assert all(jnp.all(jnp.isfinite(x)) for x in results)


def test_a_reaction_of_the_surroundings(batch):
    """With an environment-dependent hardness, scalars change it atom by atom."""
    layer = perturbed(fresh(environment_hardness=True))
    species, features = jnp.array([6, 6]), batch["features"][0, :2]
    first, second = layer.hardness(species, features)
    assert abs(first - second) > 1e-3
    with pytest.raises(ValueError, match="depends on the environment: pass `features`"):
        layer.hardness(species)


def test_plans_take_a_margin_and_traced_cells_need_one(batch):
    layer = fresh(tolerance=1e-3)
    arguments = batch["cell"], batch["positions"], batch["mask"]
    plan = layer.plan_for(*arguments, margin=0.1)
    assert plan.covers(batch["cell"]).all() and plan.covers(1.09 * batch["cell"]).all()
    plan = layer.plan_for(*arguments)
    assert not plan.covers(1.09 * batch["cell"]).any()
    strained = batch | {"cell": 1.09 * batch["cell"]}
    assert jnp.all(jnp.isnan(over_graphs(layer, strained, plan)[1][0]))
    one = jax.tree.map(lambda x: x[0], batch)
    with pytest.raises(ValueError, match="The cell is traced.*as `plan` to a layer"):
        jax.jit(lambda one: layer(**one))(one)


def test_padding_graphs_need_no_terms(batch):
    layer = fresh()
    both = layer.plan_for(batch["cell"], batch["positions"], batch["mask"])
    real = layer.plan_for(batch["cell"][:2], batch["positions"][:2], batch["mask"][:2])
    assert both.images.shape[1:] == real.images.shape[1:]
    assert both.indices.shape[1:] == real.indices.shape[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lu"}, "`solver` is .*, got 'lu'"),
        ({"energy": "none"}, '`energy` is "coulomb" or "total", got \'none\''),
        ({"width_bounds": (2.0, 1.0)}, "`width_bounds` are"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fresh(**options)


def test_unknown_elements_are_refused(batch):
    layer = fresh()
    for z in (97, 118, 119):
        with pytest.raises(ValueError, match=f"Element {z} has no published covalent"):
            layer.width(jnp.array([1, z]))
    one = jax.tree.map(lambda x: x[0], batch) | {"cell": None}
    strange = one | {"species": one["species"].at[0].set(118)}
    assert jnp.all(jnp.isnan(jax.jit(lambda one: layer(**one)[1])(strange)))


def test_float32_stays_float32_and_is_accurate(batch):
    layer = perturbed(fresh())
    exact = over_graphs(layer, *planned(layer, batch))
    layer = jax.tree.map(lambda x: np.asarray(x, np.float32), layer)
    small = jax.tree.map(np.asarray, batch)
    with jax.enable_x64(False):
        small = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float32 if x.dtype == float else None), small
        )
        layer = jax.tree.map(jnp.asarray, layer)
        found = over_graphs(layer, *planned(layer, small))
        assert all(x.dtype == jnp.float32 for x in found)
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    sums = np.sum(np.asarray(found[2], float), axis=1)
    np.testing.assert_allclose(sums, batch["total_charge"], atol=1e-5)


def test_far_fragments_know_only_their_total_charge(batch):
    """The energy between them is that of two ions, whatever the charges within."""
    layer = fresh(hidden=())
    one = jax.tree.map(lambda x: x[0], batch) | {"cell": None}
    shift = jnp.where(jnp.arange(6) < 3, 0.0, 1e5)[:, None] * jnp.array([1.0, 0, 0])
    apart = one | {"positions": one["positions"] + shift}
    call = eqx.filter_jit(layer)
    _, energies, charges = call(**apart)
    parts = []
    for half in (slice(0, 3), slice(3, 6)):
        own = {k: v[half] if v.ndim else v for k, v in one.items() if v is not None}
        own |= {"cell": None, "total_charge": jnp.sum(charges[half])}
        parts.append(jnp.sum(call(**own)[1]))
    between = COULOMB_CONSTANT * math.prod(
        [float(jnp.sum(charges[:3])), float(jnp.sum(charges[3:]))]
    )
    difference = jnp.sum(energies) - sum(parts)
    np.testing.assert_allclose(difference, between / 1e5, rtol=1e-3)
