"""Comparison of the Coulomb matrix with its definition, crystals and other codes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from jaxpme import Ewald as PointEwald
from lr_celli import COULOMB_CONSTANT, Ewald, coulomb_matrix, coulomb_sums

WIDTHS = {"mixed": (0.3, 2.6), "narrow": (0.3, 0.6), "wide": (1.4, 2.6)}


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
def test_every_element_is_the_reciprocal_sum(
    matrix, structure, reciprocal_sum, periodic, widths, tolerance
):
    low, high = WIDTHS[widths]
    r, sigma = structure(low=low, high=high)
    exact = reciprocal_sum(r, sigma, periodic)
    for bounds in ((0.0, math.inf), (low, high)):
        plan = Ewald.for_structures(
            periodic, r, tolerance=tolerance, width_bounds=bounds
        )
        error = np.abs(matrix(r, sigma, periodic, plan=plan) - exact)
        assert error.max() < tolerance * COULOMB_CONSTANT


@jax.jit
def potential_from_sums(positions, widths, cell, plan, charges):
    return coulomb_sums(widths, positions, cell, plan=plan)(charges)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("atoms", [5, 6])
def test_the_product_of_sums_and_charges_is_the_reciprocal_sum(
    structure, reciprocal_sum, triclinic, widths, atoms
):
    r, sigma = structure(atoms, low=WIDTHS[widths][0], high=WIDTHS[widths][1])
    q = np.random.default_rng(3).normal(size=atoms)
    plan = Ewald.for_structures(triclinic, r, tolerance=1e-9)
    assert plan.has_wide_gaussians
    expected = reciprocal_sum(r, sigma, triclinic) @ q
    actual = potential_from_sums(r, sigma, triclinic, plan, q)
    bound = 1e-9 * COULOMB_CONSTANT * np.abs(q).sum()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def test_a_scan_over_images_gives_the_vectorized_sum(structure, triclinic, monkeypatch):
    r, sigma = structure()
    plan = Ewald.for_structures(triclinic, r, tolerance=1e-3, smearing=1.5)
    total = lambda r, w: jnp.sum(jnp.sin(coulomb_matrix(w, r, triclinic, plan=plan)))
    vectorized = jax.jit(jax.value_and_grad(total, (0, 1)))(r, sigma)
    monkeypatch.setattr("lr_celli._sums._MAX_VECTORIZED", 0)
    retraced = lambda r, w: total(r, w)
    scanned = jax.jit(jax.value_and_grad(retraced, (0, 1)))(r, sigma)
    for a, b in zip(*map(jax.tree.leaves, (vectorized, scanned)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("smearing", [0.6, 1.1, 2.5])
def test_the_matrix_does_not_depend_on_the_smearing(
    matrix, structure, periodic, smearing
):
    r, sigma = structure()
    plan = Ewald.for_structures(periodic, r, tolerance=1e-12, smearing=smearing)
    assert plan.smearing == smearing
    expected = matrix(r, sigma, periodic, tolerance=1e-12)
    actual = matrix(r, sigma, periodic, plan=plan)
    # The error of both is below 1e-12 in units of 14.4 eV/e².
    np.testing.assert_allclose(actual, expected, atol=3e-11)


def test_the_matrix_is_symmetric_and_positive_definite(matrix, structure, periodic):
    actual = matrix(*structure(low=1.0, high=1.5), periodic)
    assert np.all(actual == actual.T)
    assert np.linalg.eigvalsh(actual)[0] > 0


def test_the_open_matrix_is_the_formula(matrix, structure):
    r, sigma = structure()
    actual = matrix(r, sigma) / COULOMB_CONSTANT
    for i, j in np.ndindex(actual.shape):
        d, gamma = math.dist(r[i], r[j]), math.hypot(sigma[i], sigma[j])
        if i == j:
            expected = 1 / (sigma[i] * math.sqrt(math.pi))
        else:
            expected = math.erf(d / math.sqrt(2) / gamma) / d
        assert abs(actual[i, j] / expected - 1) < 1e-13


# Sites in cubic cells of edge 1, charges, nearest distance and the published constant
# of a formula unit, relative to k_e z+ z- / distance.
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CRYSTALS = {
    "rock salt": ([FCC, FCC + [0.5, 0, 0]], [1, -1], 0.5, 1.747564594633182),
    "caesium chloride": (
        [np.zeros((1, 3)), np.full((1, 3), 0.5)],
        [1, -1],
        math.sqrt(3) / 2,
        1.762674773070988,
    ),
    "zincblende": ([FCC, FCC + 0.25], [1, -1], math.sqrt(3) / 4, 1.638055053388789),
    "fluorite": (
        [FCC, FCC + 0.25, FCC - 0.25],
        [2, -1, -1],
        math.sqrt(3) / 4,
        2 * 2.519392439920,
    ),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_madelung_constants(matrix, name):
    sites, charges, distance, expected = CRYSTALS[name]
    edge, width = 4.0, 0.1
    r = edge * np.concatenate(sites)
    q = np.repeat(charges, [len(s) for s in sites]).astype(float)
    coulomb = matrix(r, np.full(len(q), width), edge * np.eye(3))
    self_energy = COULOMB_CONSTANT * np.sum(q**2) / (2 * width * math.sqrt(math.pi))
    units = len(sites[0])
    energy = (0.5 * q @ coulomb @ q - self_energy) / units
    np.testing.assert_allclose(
        -energy * edge * distance / COULOMB_CONSTANT, expected, rtol=1e-10
    )


def test_energy_is_the_sum_over_periodic_images(matrix, triclinic):
    """A neutral cell without dipole; the sum over cells has a 1/L² tail."""
    half, sigma = np.array([[1.1, 0.4, 0.2], [-0.5, 2.0, 1.2]]), np.array([0.7, 1.3])
    r, sigma = np.concatenate([half, -half]), np.tile(sigma, 2)
    q = np.array([1.0, -1.0, 1.0, -1.0])
    gamma = np.hypot(sigma[:, None], sigma)[..., None]

    def sum_over_images(reach):
        n = np.array(list(np.ndindex(*(2 * reach + 1,) * 3))) - reach
        d = r[:, None, None] - r[None, :, None] + n @ triclinic
        d = np.linalg.norm(d, axis=-1)
        # At larger distances the error function is one to rounding.
        near, nonzero = d < 20.0, np.where(d == 0, 1.0, d)
        term = 1 / nonzero
        term[near] *= np.vectorize(math.erf)((d / (math.sqrt(2) * gamma))[near])
        term += np.where(d == 0, math.sqrt(2 / math.pi) / gamma, 0.0)
        return COULOMB_CONSTANT * q @ term.sum(-1) @ q

    small, large = sum_over_images(8), sum_over_images(16)
    limit = large + (large - small) / ((16.5 / 8.5) ** 2 - 1)
    actual = q @ matrix(r, sigma, triclinic) @ q
    np.testing.assert_allclose(actual, limit, rtol=1e-6)


def test_narrow_gaussians_match_point_charges_of_jax_pme(matrix, structure, triclinic):
    r, _ = structure()
    q = np.random.default_rng(1).normal(size=6)
    q -= q.mean()
    width = 0.02
    calculator = PointEwald(prefactor=COULOMB_CONSTANT)
    atoms = Atoms("H6", positions=r, cell=triclinic, pbc=True)
    inputs = calculator.prepare(atoms, q, 7.0, 0.5, 0.95)
    expected = calculator.energy(*inputs)
    coulomb = matrix(r, np.full(6, width), triclinic)
    self_energy = COULOMB_CONSTANT * np.sum(q**2) / (2 * width * math.sqrt(math.pi))
    np.testing.assert_allclose(0.5 * q @ coulomb @ q - self_energy, expected, rtol=1e-8)


@pytest.mark.parametrize(("neutral", "power"), [(True, 5), (False, 3)])
def test_a_large_cell_approaches_open_boundaries(matrix, structure, neutral, power):
    r, sigma = structure(4, high=1.0)
    r = r / 12  # small compared with the cell, so that higher powers are negligible
    q = np.random.default_rng(2).normal(size=4)
    q = q - q.mean() if neutral else q
    charge, dipole = q.sum(), q @ r

    def difference(length):
        coulomb = matrix(r, sigma, length * np.eye(3), tolerance=1e-13)
        periodic = 0.5 * q @ coulomb @ q
        images = 2 * math.pi / (3 * length**3) * np.sum(dipole**2) * neutral
        images = images + 2.837297 * charge**2 / (2 * length)
        return periodic + COULOMB_CONSTANT * images - 0.5 * q @ matrix(r, sigma) @ q

    ratio = difference(14.0) / difference(21.0)
    assert abs(ratio / 1.5**power - 1) < 0.05


def test_float32_reaches_its_tolerance(structure, triclinic, matrix):
    r, sigma = structure(low=0.5)
    exact = matrix(r, sigma, triclinic)
    with jax.enable_x64(False):
        single = [jnp.asarray(x, jnp.float32) for x in (sigma, r, triclinic)]
        actual = coulomb_matrix(*single)
        assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, exact, atol=3e-6 * COULOMB_CONSTANT)
