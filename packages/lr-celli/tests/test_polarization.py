"""Induced dipoles: their interactions, their response, and the layer that has them."""

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
    PolarizableChargeEquilibration,
    coulomb_matrix,
    coulomb_sums,
    equilibrate,
    polarize,
)

ATOMS = 6


@pytest.fixture
def widths():
    return jnp.array([0.4, 0.7, 1.1, 0.5, 1.6, 0.9])


@pytest.fixture
def skew():
    return jnp.array([[9.0, 0, 0], [1.5, 8, 0], [-1, 2, 10]])


@pytest.fixture
def positions(skew):
    return jr.uniform(jr.key(3), (ATOMS, 3)) @ skew


@pytest.fixture
def system():
    chi = jnp.linspace(-3.0, 4.0, ATOMS)
    return chi, jnp.linspace(9.0, 16.0, ATOMS), jnp.linspace(2.0, 30.0, ATOMS)


def by_slopes(positions, widths):
    """The same of an open structure, from slopes of the closed form at a distance."""
    gamma = jnp.sqrt(widths[:, None] ** 2 + widths**2)

    def interaction(apart, gamma):
        r = jnp.sqrt(apart @ apart)
        return COULOMB_CONSTANT * jax.scipy.special.erf(r / (math.sqrt(2) * gamma)) / r

    every = lambda f: jax.vmap(jax.vmap(f))
    apart = positions[None] - positions[:, None] + jnp.eye(len(widths))[..., None]
    potential = every(interaction)(apart, gamma)
    slope = every(jax.grad(interaction))(apart, gamma)
    bent = every(jax.hessian(interaction))(apart, gamma)
    rows = [jnp.concatenate([potential, *jnp.moveaxis(slope, -1, 0)], axis=1)]
    for a in range(3):
        blocks = [-slope[..., a], *(-bent[..., a, b] for b in range(3))]
        rows.append(jnp.concatenate(blocks, axis=1))
    return jnp.concatenate(rows)


@pytest.mark.parametrize("smear", [None, 0.6, 1.3])
def test_periodic_interactions_are_the_sum_over_waves(
    positions, smear, widths, skew, reciprocal_sum
):
    """Whatever the split, with Gaussians beyond it and without."""
    ewald = Ewald.for_cells(skew, tolerance=1e-12, width_bounds=(0.4, 1.6), smear=smear)
    found = coulomb_sums(positions, widths, skew, ewald=ewald, degree=1)
    expected = reciprocal_sum(positions, widths, skew, dipoles=True)
    # Slopes raise the split's tolerance by the largest wave vector squared, about 100.
    np.testing.assert_allclose(found.matrix(), expected, atol=1e-8)
    vector = jr.normal(jr.key(0), (4 * ATOMS,))
    np.testing.assert_allclose(found(vector), expected @ vector, atol=1e-7)
    assert np.linalg.eigvalsh(expected).min() > -1e-10


def test_open_interactions_are_slopes_of_the_closed_form(positions, widths):
    found = coulomb_sums(positions, widths, degree=1).matrix()
    expected = by_slopes(positions, widths)
    apart = np.tile(~np.eye(ATOMS, dtype=bool), (4, 4))
    np.testing.assert_allclose(found[apart], expected[apart], rtol=1e-9, atol=1e-11)
    # Two widths squared are the variance; the curvature of erf(ar)/r at zero.
    own = COULOMB_CONSTANT / (6 * math.sqrt(math.pi) * widths**3)
    itself = COULOMB_CONSTANT / (math.sqrt(math.pi) * widths)
    diagonal = jnp.concatenate([itself, jnp.tile(own, 3)])
    np.testing.assert_allclose(jnp.diag(found), diagonal, rtol=1e-12)
    charges = found[:ATOMS, :ATOMS]
    np.testing.assert_allclose(charges, coulomb_matrix(positions, widths), rtol=1e-12)


def test_a_lone_atom_has_its_polarizability():
    width, volume, field = 0.7, 1.5, jnp.array([[0.1, -0.2, 0.3]])
    coulomb = coulomb_sums(jnp.zeros((1, 3)), jnp.array([width]), degree=1)
    charges, dipoles = polarize(
        jnp.array([3.0]),
        jnp.array([10.0]),
        jnp.array([COULOMB_CONSTANT / volume]),
        coulomb,
        1.0,
        field=field,
    )
    full = 1 / (1 / volume + 1 / (6 * math.sqrt(math.pi) * width**3))
    np.testing.assert_allclose(dipoles, full * field / COULOMB_CONSTANT, rtol=1e-12)
    np.testing.assert_allclose(charges, [1.0], rtol=1e-12)


def test_two_distant_atoms_follow_silberstein():
    """Dipoles at points: 2 a/(1 - 2a/r³) along the axis, 2 a/(1 + a/r³) across."""
    width, distance, stiffness = 0.1, 6.0, 6.0
    own = COULOMB_CONSTANT / (6 * math.sqrt(math.pi) * width**3)
    volume = COULOMB_CONSTANT / (stiffness + own)
    coulomb = coulomb_sums(
        jnp.array([[0.0, 0, 0], [0, 0, distance]]), jnp.full(2, width), degree=1
    )
    respond = lambda field: polarize(
        jnp.zeros(2),
        # So hard that no charge flows along the field.
        jnp.full(2, 1e12),
        jnp.full(2, stiffness),
        coulomb,
        0.0,
        field=jnp.tile(field, (2, 1)),
    )[1].sum(axis=0)
    along, across = respond(jnp.array([0.0, 0, 1])), respond(jnp.array([1.0, 0, 0]))
    expected = 2 * volume / (1 - 2 * volume / distance**3) / COULOMB_CONSTANT
    np.testing.assert_allclose(along[2], expected, rtol=1e-9)
    expected = 2 * volume / (1 + volume / distance**3) / COULOMB_CONSTANT
    np.testing.assert_allclose(across[0], expected, rtol=1e-9)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_cubic_crystal_follows_clausius_and_mossotti(copies):
    """In a macroscopic field, which is what leaving out k = 0 means."""
    edge, width, volume = 4.0, 0.35, 3.0
    cells = np.array(list(np.ndindex(copies, copies, copies)), float)
    cell = copies * edge * jnp.eye(3)
    atoms = len(cells)
    ewald = Ewald.for_cells(cell, tolerance=1e-13)
    coulomb = coulomb_sums(
        jnp.asarray(edge * cells), jnp.full(atoms, width), cell, ewald=ewald, degree=1
    )
    field = jnp.tile(jnp.array([0.2, 0.0, -0.1]), (atoms, 1))
    charges, dipoles = polarize(
        jnp.zeros(atoms),
        jnp.full(atoms, 10.0),
        jnp.full(atoms, COULOMB_CONSTANT / volume),
        coulomb,
        0.0,
        field=field,
    )
    full = 1 / (1 / volume + 1 / (6 * math.sqrt(math.pi) * width**3))
    density = full / edge**3
    expected = full / (1 - 4 * math.pi / 3 * density) / COULOMB_CONSTANT
    np.testing.assert_allclose(dipoles, expected * field, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(charges, jnp.zeros(atoms), atol=1e-10)


@pytest.mark.parametrize("periodic", [False, True])
def test_the_energy_is_least(positions, system, periodic, widths, skew):
    """One chemical potential for all charges, no force on any dipole."""
    chi, hardness, stiffness = system
    cell = skew if periodic else None
    coulomb = coulomb_sums(positions, widths, cell, degree=1)
    charges, dipoles = polarize(chi, hardness, stiffness, coulomb, -2.0)

    def energy(charges, dipoles):
        every = jnp.concatenate([charges, dipoles.T.ravel()])
        own = chi * charges + hardness * charges**2 / 2
        own += stiffness * jnp.sum(dipoles**2, axis=1) / 2
        return jnp.sum(own) + every @ coulomb.matrix() @ every / 2

    potential, force = jax.grad(energy, (0, 1))(charges, dipoles)
    np.testing.assert_allclose(potential, potential[0], rtol=1e-10)
    np.testing.assert_allclose(force, jnp.zeros((ATOMS, 3)), atol=1e-10)
    np.testing.assert_allclose(jnp.sum(charges), -2.0, rtol=1e-12)
    assert jnp.max(jnp.abs(dipoles)) > 1e-2


def test_stiff_springs_leave_the_charges_of_plain_equilibration(
    positions, system, widths, skew
):
    chi, hardness, _ = system
    stiff = jnp.full(ATOMS, 1e12)
    coulomb = coulomb_sums(positions, widths, skew, degree=1)
    charges, dipoles = polarize(chi, hardness, stiff, coulomb, 1.0)
    plain = equilibrate(chi, hardness, coulomb_matrix(positions, widths, skew), 1.0)
    np.testing.assert_allclose(charges, plain, atol=1e-9)
    np.testing.assert_allclose(dipoles, jnp.zeros((ATOMS, 3)), atol=1e-9)


def test_dipoles_turn_with_the_atoms(positions, system, widths, skew):
    turn, _ = jnp.linalg.qr(jr.normal(jr.key(5), (3, 3)))
    results = []
    for r, cell in ((positions, skew), (positions @ turn, skew @ turn)):
        ewald = Ewald.for_cells(cell, tolerance=1e-12)
        coulomb = coulomb_sums(r, widths, cell, ewald=ewald, degree=1)
        results.append(polarize(*system, coulomb, 1.0))
    np.testing.assert_allclose(results[1][0], results[0][0], atol=1e-9)
    np.testing.assert_allclose(results[1][1], results[0][1] @ turn, atol=1e-9)


CHANNELS = 5


def fresh(**options):
    base = ChargeEquilibration(
        CHANNELS, hidden=(8,), solver="dense", key=jr.key(1), **options
    )
    return PolarizableChargeEquilibration(base)


def perturbed(layer):
    """Every parameter away from its initial value."""
    leaves, tree = jax.tree.flatten(layer)
    keys = jr.split(jr.key(9), len(leaves))
    moved = [x + 0.1 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture
def batch(structure):
    """Three graphs of six slots: full, partly filled, and padding."""
    mask = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    cells = jnp.stack([6.5 * jnp.eye(3), jnp.diag(jnp.array([4.0, 5, 7])), jnp.eye(3)])
    return {
        "features": jr.normal(jr.key(0), (3, 6, CHANNELS)),
        "positions": jnp.stack([structure(seed=s)[0] for s in range(3)]),
        "cell": cells,
        "mask": mask,
        "species": jnp.where(mask, jnp.array([1, 6, 8, 30, 55, 1]), 0),
        "total_charge": jnp.array([1.0, -2.0, 0.0]),
    }


@eqx.filter_jit
def over_graphs(layer, batch):
    return jax.vmap(lambda one: layer(**one, spin=None))(batch)


def test_every_parameter_trains_on_forces(batch):
    layer = perturbed(fresh(energy="total"))
    positions = batch["positions"]
    # Padding atoms at one point.
    positions = positions.at[1, 4:].set(positions[1, 0]).at[2].set(0.0)
    batch = batch | {"positions": positions, "cell": None}

    def loss(layer, positions):
        moved = lambda r: over_graphs(layer, batch | {"positions": r})
        forces = jax.grad(lambda r: jnp.sum(moved(r)[1]))(positions)
        return jnp.sum(forces**2) + jnp.sum(moved(positions)[0] ** 2)

    gradients = jax.jit(jax.grad(loss, (0, 1)))(layer, positions)
    for path, leaf in jax.tree.leaves_with_path(gradients[0]):
        assert jnp.all(jnp.isfinite(leaf)) and jnp.any(leaf != 0), path
    assert jnp.all(jnp.isfinite(gradients[1]))
    assert not jnp.any(gradients[1][~batch["mask"]])
    update, energies, charges = over_graphs(layer, batch)
    np.testing.assert_allclose(charges.sum(axis=1), batch["total_charge"], atol=1e-12)
    for result in (update, energies, charges):
        assert not jnp.any(result[~batch["mask"]])


def test_forces_and_stress_to_second_order(batch, check_derivatives):
    layer = perturbed(fresh())
    one = jax.tree.map(lambda x: x[0], batch)
    grown = lambda x: x[None]
    plan = layer.plan_for(*map(grown, (one["cell"], one["positions"], one["mask"])))
    plan = jax.tree.map(lambda x: x[0], plan)

    def value(positions, strain, raw):
        deform = jnp.eye(3) + 1e-3 * strain
        moved = {"positions": positions @ deform, "cell": one["cell"] @ deform}
        own = eqx.tree_at(lambda layer: layer.raw_polarizability, layer, raw)
        _, energies, charges = own(**(one | moved), plan=plan)
        return jnp.sum(energies) + jnp.sum(charges**3)

    raw = layer.raw_polarizability
    slopes = check_derivatives(value, one["positions"], jnp.zeros((3, 3)), raw)
    assert jnp.all((slopes[2] != 0) == jnp.isin(jnp.arange(len(raw)), one["species"]))


def test_a_fresh_layer_starts_where_it_should(batch):
    layer = fresh()
    carbon = jnp.array([6])
    np.testing.assert_allclose(layer.polarizability(carbon), 4 * 0.76**3, rtol=1e-6)
    own = 6 * math.sqrt(math.pi) * 0.76**3
    expected = 1 / (1 / (4 * 0.76**3) + 1 / own)
    np.testing.assert_allclose(layer.full_polarizability(carbon), expected, rtol=1e-6)
    one = jax.tree.map(lambda x: x[0], batch | {"cell": None})
    charges, dipoles = eqx.filter_jit(layer.charges_and_dipoles)(**one)
    alone = eqx.filter_jit(layer)(**one)
    np.testing.assert_allclose(alone[2], charges, rtol=1e-12)
    assert not jnp.any(alone[0])
    assert jnp.all(jnp.any(dipoles != 0, axis=1))


def test_bad_input_is_refused(positions, system, widths):
    chi, hardness, stiffness = system
    plain = coulomb_sums(positions, widths)
    with pytest.raises(ValueError, match="degree=1"):
        polarize(chi, hardness, stiffness, plain, 0.0)
    coulomb = coulomb_sums(positions, widths, degree=1)
    with pytest.raises(ValueError, match="stiffness must be positive"):
        polarize(chi, hardness, stiffness.at[2].set(0.0), coulomb, 0.0)
    with pytest.raises(ValueError, match="finite number of e"):
        polarize(chi, hardness, stiffness, coulomb, math.inf)
    with pytest.raises(ValueError, match="`degree` is 0"):
        coulomb_sums(positions, widths, degree=2)
    with pytest.raises(ValueError, match="solved for densely"):
        PolarizableChargeEquilibration(ChargeEquilibration(CHANNELS, key=jr.key(0)))
