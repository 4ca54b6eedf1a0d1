"""Induced dipoles: interactions, linear response and invalid input."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_celli import (
    COULOMB_CONSTANT,
    Ewald,
    coulomb_matrix,
    coulomb_sums,
    equilibrate,
    polarize,
)

ATOMS = 6
CELL = np.array([[9.0, 0, 0], [1.5, 8, 0], [-1, 2, 10]])
WIDTHS = np.array([0.4, 0.7, 1.1, 0.5, 1.6, 0.9])


@pytest.fixture
def positions():
    return np.asarray(jr.uniform(jr.key(3), (ATOMS, 3))) @ CELL


@pytest.fixture
def coefficients():
    """Electronegativity, hardness and stiffness."""
    linear = np.linspace
    return linear(-3.0, 4.0, ATOMS), linear(9.0, 16.0, ATOMS), linear(2.0, 30.0, ATOMS)


@jax.jit
def sums_and_matrix(positions, widths, cell=None, plan=None):
    sums = coulomb_sums(widths, positions, cell, plan=plan, degree=1)
    return sums, sums.matrix()


compiled_polarize = jax.jit(polarize)


def default_plan():
    return Ewald.for_structures(
        CELL, np.zeros((len(WIDTHS), 3)), width_bounds=(WIDTHS.min(), WIDTHS.max())
    )


@jax.jit
def matrix_from_derivatives(positions, widths):
    """The open matrix from derivatives of the closed form, for distinct atoms."""
    gamma = jnp.sqrt(widths[:, None] ** 2 + widths**2)

    def interaction(separation, gamma):
        r = jnp.sqrt(separation @ separation)
        return COULOMB_CONSTANT * jax.scipy.special.erf(r / (math.sqrt(2) * gamma)) / r

    over_pairs = lambda f: jax.vmap(jax.vmap(f))
    separation = positions[None] - positions[:, None] + jnp.eye(len(widths))[..., None]
    potential = over_pairs(interaction)(separation, gamma)
    gradient = over_pairs(jax.grad(interaction))(separation, gamma)
    hessian = over_pairs(jax.hessian(interaction))(separation, gamma)
    rows = [jnp.concatenate([potential, *jnp.moveaxis(gradient, -1, 0)], axis=1)]
    for a in range(3):
        blocks = [-gradient[..., a], *(-hessian[..., a, b] for b in range(3))]
        rows.append(jnp.concatenate(blocks, axis=1))
    return jnp.concatenate(rows)


@pytest.mark.parametrize("smearing", [None, 0.6, 1.3])
def test_periodic_interactions_are_the_reciprocal_sum(
    positions, smearing, reciprocal_sum
):
    """For plans with and without Gaussians wider than the smearing."""
    plan = Ewald.for_structures(
        CELL, positions, tolerance=1e-12, width_bounds=(0.4, 1.6), smearing=smearing
    )
    sums, matrix = sums_and_matrix(positions, WIDTHS, CELL, plan)
    expected = reciprocal_sum(positions, WIDTHS, CELL, dipoles=True)
    # Derivatives multiply the tolerance by the largest wave vector squared, about 100.
    np.testing.assert_allclose(matrix, expected, atol=1e-8)
    vector = np.asarray(jr.normal(jr.key(0), (4 * ATOMS,)))
    product = jax.jit(lambda sums, vector: sums(vector))(sums, vector)
    np.testing.assert_allclose(product, expected @ vector, atol=1e-7)
    assert np.linalg.eigvalsh(expected).min() > -1e-10


def test_open_interactions_are_derivatives_of_the_closed_form(positions):
    matrix = np.asarray(sums_and_matrix(positions, WIDTHS)[1])
    expected = np.asarray(matrix_from_derivatives(positions, WIDTHS))
    distinct = np.tile(~np.eye(ATOMS, dtype=bool), (4, 4))
    np.testing.assert_allclose(
        matrix[distinct], expected[distinct], rtol=1e-9, atol=1e-11
    )
    # The value and the curvature of erf(r/2σ)/r at zero.
    charge = COULOMB_CONSTANT / (math.sqrt(math.pi) * WIDTHS)
    dipole = COULOMB_CONSTANT / (6 * math.sqrt(math.pi) * WIDTHS**3)
    diagonal = np.concatenate([charge, np.tile(dipole, 3)])
    np.testing.assert_allclose(np.diag(matrix), diagonal, rtol=1e-12)
    charges = jax.jit(coulomb_matrix)(WIDTHS, positions)
    np.testing.assert_allclose(matrix[:ATOMS, :ATOMS], charges, rtol=1e-12)


def test_an_isolated_atom_has_its_polarizability():
    width, volume, field = 0.7, 1.5, jnp.array([[0.1, -0.2, 0.3]])
    coulomb, _ = sums_and_matrix(np.zeros((1, 3)), np.array([width]))
    charges, dipoles = polarize(
        jnp.array([3.0]),
        jnp.array([10.0]),
        jnp.array([COULOMB_CONSTANT / volume]),
        coulomb,
        1.0,
        field=field,
    )
    total = 1 / (1 / volume + 1 / (6 * math.sqrt(math.pi) * width**3))
    expected = total * np.asarray(field) / COULOMB_CONSTANT
    np.testing.assert_allclose(dipoles, expected, rtol=1e-12)
    np.testing.assert_allclose(charges, [1.0], rtol=1e-12)


def test_two_distant_atoms_follow_silberstein():
    """Point dipoles: 2 a/(1 - 2a/r³) along the axis, 2 a/(1 + a/r³) across."""
    width, distance, stiffness = 0.1, 6.0, 6.0
    gaussian = COULOMB_CONSTANT / (6 * math.sqrt(math.pi) * width**3)
    volume = COULOMB_CONSTANT / (stiffness + gaussian)
    coulomb, _ = sums_and_matrix(
        np.array([[0.0, 0, 0], [0, 0, distance]]), np.full(2, width)
    )
    response = lambda *field: np.sum(
        compiled_polarize(
            np.zeros(2),
            # So hard that no charge moves along the field.
            np.full(2, 1e12),
            np.full(2, stiffness),
            coulomb,
            0.0,
            field=np.tile(field, (2, 1)),
        )[1],
        axis=0,
    )
    along, across = response(0.0, 0.0, 1.0), response(1.0, 0.0, 0.0)
    expected = 2 * volume / (1 - 2 * volume / distance**3) / COULOMB_CONSTANT
    np.testing.assert_allclose(along[2], expected, rtol=1e-9)
    expected = 2 * volume / (1 + volume / distance**3) / COULOMB_CONSTANT
    np.testing.assert_allclose(across[0], expected, rtol=1e-9)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_cubic_crystal_follows_clausius_mossotti(copies):
    """In a macroscopic field, since the k = 0 term is omitted."""
    edge, width, volume = 4.0, 0.35, 3.0
    sites = np.array(list(np.ndindex(copies, copies, copies)), float)
    cell = copies * edge * np.eye(3)
    atoms = len(sites)
    plan = Ewald.for_structures(cell, edge * sites, tolerance=1e-13)
    coulomb, _ = sums_and_matrix(edge * sites, np.full(atoms, width), cell, plan)
    field = np.tile([0.2, 0.0, -0.1], (atoms, 1))
    charges, dipoles = compiled_polarize(
        np.zeros(atoms),
        np.full(atoms, 10.0),
        np.full(atoms, COULOMB_CONSTANT / volume),
        coulomb,
        0.0,
        field=field,
    )
    total = 1 / (1 / volume + 1 / (6 * math.sqrt(math.pi) * width**3))
    density = total / edge**3
    expected = total / (1 - 4 * math.pi / 3 * density) / COULOMB_CONSTANT
    np.testing.assert_allclose(dipoles, expected * field, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(charges, np.zeros(atoms), atol=1e-10)


@pytest.mark.parametrize("periodic", [False, True])
def test_charges_and_dipoles_minimize_the_energy(positions, coefficients, periodic):
    """All charges have the same chemical potential, and forces on dipoles are zero."""
    chi, hardness, stiffness = coefficients
    cell, plan = (CELL, default_plan()) if periodic else (None, None)
    coulomb, _ = sums_and_matrix(positions, WIDTHS, cell, plan)
    charges, dipoles = compiled_polarize(*coefficients, coulomb, -2.0)

    def energy(charges, dipoles, coulomb):
        unknowns = jnp.concatenate([charges, dipoles.T.ravel()])
        atomic = chi * charges + hardness * charges**2 / 2
        atomic += stiffness * jnp.sum(dipoles**2, axis=1) / 2
        return jnp.sum(atomic) + unknowns @ coulomb.matrix() @ unknowns / 2

    gradient = jax.jit(jax.grad(energy, (0, 1)))(charges, dipoles, coulomb)
    potential, force = jax.device_get(gradient)
    np.testing.assert_allclose(potential, potential[0], rtol=1e-10)
    np.testing.assert_allclose(force, np.zeros((ATOMS, 3)), atol=1e-10)
    np.testing.assert_allclose(np.sum(charges), -2.0, rtol=1e-12)
    assert np.max(np.abs(dipoles)) > 1e-2


def test_stiff_springs_give_the_charges_without_dipoles(positions, coefficients):
    chi, hardness, _ = coefficients
    stiff = np.full(ATOMS, 1e12)
    plan = default_plan()
    coulomb, _ = sums_and_matrix(positions, WIDTHS, CELL, plan)
    charges, dipoles = compiled_polarize(chi, hardness, stiff, coulomb, 1.0)
    matrix = jax.jit(lambda r, w, p: coulomb_matrix(w, r, CELL, plan=p))
    coulomb = matrix(positions, WIDTHS, plan)
    expected = jax.jit(equilibrate)(chi, hardness, coulomb, 1.0)
    np.testing.assert_allclose(charges, expected, atol=1e-9)
    np.testing.assert_allclose(dipoles, np.zeros((ATOMS, 3)), atol=1e-9)


def test_dipoles_rotate_with_the_atoms(positions, coefficients):
    rotation, _ = np.linalg.qr(jr.normal(jr.key(5), (3, 3)))
    results = []
    for r, cell in ((positions, CELL), (positions @ rotation, CELL @ rotation)):
        plan = Ewald.for_structures(cell, r, tolerance=1e-12)
        coulomb, _ = sums_and_matrix(r, WIDTHS, cell, plan)
        results.append(jax.device_get(compiled_polarize(*coefficients, coulomb, 1.0)))
    np.testing.assert_allclose(results[1][0], results[0][0], atol=1e-9)
    np.testing.assert_allclose(results[1][1], results[0][1] @ rotation, atol=1e-9)


def test_invalid_input_raises(positions, coefficients):
    chi, hardness, stiffness = map(jnp.asarray, coefficients)
    without_dipoles = jax.jit(coulomb_sums)(WIDTHS, positions)
    with pytest.raises(ValueError, match="degree=1"):
        polarize(chi, hardness, stiffness, without_dipoles, 0.0)
    coulomb, _ = sums_and_matrix(positions, WIDTHS)
    zero = jnp.asarray(np.where(np.arange(ATOMS) == 2, 0.0, stiffness))
    with pytest.raises(ValueError, match="stiffness must be positive"):
        polarize(chi, hardness, zero, coulomb, 0.0)
    with pytest.raises(ValueError, match="finite number of e"):
        polarize(chi, hardness, stiffness, coulomb, math.inf)
    with pytest.raises(ValueError, match="`degree` is 0"):
        coulomb_sums(*map(jnp.asarray, (WIDTHS, positions)), degree=2)
