"""Independent answers: the formula itself, crystals, image sums, another code."""

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
        ewald = Ewald.for_cells(periodic, tolerance=tolerance, width_bounds=bounds)
        error = np.abs(matrix(r, sigma, periodic, ewald=ewald) - exact)
        assert error.max() < tolerance * COULOMB_CONSTANT


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("atoms", [5, 6])
def test_the_sums_times_charges_are_the_reciprocal_sum(
    structure, reciprocal_sum, triclinic, widths, atoms
):
    r, sigma = structure(atoms, low=WIDTHS[widths][0], high=WIDTHS[widths][1])
    q = jnp.asarray(np.random.default_rng(3).normal(size=atoms))
    split = Ewald.for_cells(triclinic, tolerance=1e-9)
    assert split.wide

    def potential(r, sigma, cell):
        return coulomb_sums(r, sigma, cell, ewald=split)(q)

    expected = reciprocal_sum(r, sigma, triclinic) @ q
    found = jax.jit(potential)(r, sigma, triclinic)
    bound = 1e-9 * COULOMB_CONSTANT * np.abs(q).sum()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def test_images_one_by_one_are_images_at_once(structure, triclinic, monkeypatch):
    r, sigma = structure()
    split = Ewald.for_cells(triclinic, tolerance=1e-3, smear=1.5)
    total = lambda r, w: jnp.sum(jnp.sin(coulomb_matrix(r, w, triclinic, ewald=split)))
    at_once = jax.jit(jax.value_and_grad(total, (0, 1)))(r, sigma)
    monkeypatch.setattr("lr_celli._sums._AT_ONCE", 0)
    fresh = lambda r, w: total(r, w)
    one_by_one = jax.jit(jax.value_and_grad(fresh, (0, 1)))(r, sigma)
    for a, b in zip(*map(jax.tree.leaves, (at_once, one_by_one)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("smear", [0.6, 1.1, 2.5])
def test_the_split_changes_nothing(matrix, structure, periodic, smear):
    r, sigma = structure()
    split = Ewald.for_cells(periodic, tolerance=1e-12, smear=smear)
    assert split.smear == smear
    expected = matrix(r, sigma, periodic, tolerance=1e-12)
    found = matrix(r, sigma, periodic, ewald=split)
    # Both keep 1e-12 in units of 14.4 eV/e².
    np.testing.assert_allclose(found, expected, atol=3e-11)


def test_the_matrix_is_symmetric_and_positive(matrix, structure, periodic):
    found = matrix(*structure(low=1.0, high=1.5), periodic)
    assert jnp.all(found == found.T)
    assert jnp.linalg.eigvalsh(found)[0] > 0


def test_the_open_matrix_is_the_formula(matrix, structure):
    r, sigma = structure()
    found = np.asarray(matrix(r, sigma)) / COULOMB_CONSTANT
    for i, j in np.ndindex(found.shape):
        d, gamma = math.dist(r[i], r[j]), math.hypot(sigma[i], sigma[j])
        if i == j:
            expected = 1 / (sigma[i] * math.sqrt(math.pi))
        else:
            expected = math.erf(d / math.sqrt(2) / gamma) / d
        assert abs(found[i, j] / expected - 1) < 1e-13


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
    r = jnp.asarray(edge * np.concatenate(sites))
    q = np.repeat(charges, [len(s) for s in sites]).astype(float)
    found = matrix(r, jnp.full(len(q), width), edge * jnp.eye(3))
    itself = COULOMB_CONSTANT * np.sum(q**2) / (2 * width * math.sqrt(math.pi))
    units = len(sites[0])
    lattice = (0.5 * q @ found @ q - itself) / units
    np.testing.assert_allclose(
        -lattice * edge * distance / COULOMB_CONSTANT, expected, rtol=1e-10
    )


def test_images_summed_one_by_one(matrix, triclinic):
    """A neutral cell without dipole: whole cells, with the 1/L² tail extrapolated."""
    half, sigma = np.array([[1.1, 0.4, 0.2], [-0.5, 2.0, 1.2]]), np.array([0.7, 1.3])
    r, sigma = np.concatenate([half, -half]), np.tile(sigma, 2)
    q = np.array([1.0, -1.0, 1.0, -1.0])
    gamma = np.hypot(sigma[:, None], sigma)[..., None]

    def images(reach):
        n = np.array(list(np.ndindex(*(2 * reach + 1,) * 3))) - reach
        d = r[:, None, None] - r[None, :, None] + n @ np.asarray(triclinic)
        d = np.linalg.norm(d, axis=-1)
        # Farther apart erf is one to rounding.
        near, apart = d < 20.0, np.where(d == 0, 1.0, d)
        term = 1 / apart
        term[near] *= np.vectorize(math.erf)((d / (math.sqrt(2) * gamma))[near])
        term += np.where(d == 0, math.sqrt(2 / math.pi) / gamma, 0.0)
        return COULOMB_CONSTANT * q @ term.sum(-1) @ q

    small, large = images(8), images(16)
    limit = large + (large - small) / ((16.5 / 8.5) ** 2 - 1)
    found = q @ matrix(jnp.asarray(r), jnp.asarray(sigma), triclinic) @ q
    np.testing.assert_allclose(found, limit, rtol=1e-6)


def test_point_charges_of_another_code(matrix, structure, triclinic):
    r, _ = structure()
    q = np.random.default_rng(1).normal(size=6)
    q -= q.mean()
    width = 0.02
    code = PointEwald(prefactor=COULOMB_CONSTANT)
    atoms = Atoms("H6", positions=np.asarray(r), cell=np.asarray(triclinic), pbc=True)
    inputs = code.prepare(atoms, q, 7.0, 0.5, 0.95)
    expected = code.energy(*inputs)
    found = matrix(r, jnp.full(6, width), triclinic)
    itself = COULOMB_CONSTANT * np.sum(q**2) / (2 * width * math.sqrt(math.pi))
    np.testing.assert_allclose(0.5 * q @ found @ q - itself, expected, rtol=1e-8)


@pytest.mark.parametrize(("neutral", "power"), [(True, 5), (False, 3)])
def test_a_growing_cell_becomes_open(matrix, structure, neutral, power):
    r, sigma = structure(4, high=1.0)
    r = r / 12  # small beside the cell, so that the next power is small too
    q = np.random.default_rng(2).normal(size=4)
    q = q - q.mean() if neutral else q
    charge, dipole = q.sum(), q @ r

    def difference(length):
        periodic = matrix(r, sigma, length * jnp.eye(3), tolerance=1e-13)
        found = 0.5 * q @ periodic @ q
        images = 2 * math.pi / (3 * length**3) * jnp.sum(dipole**2) * neutral
        images = images + 2.837297 * charge**2 / (2 * length)
        return found + COULOMB_CONSTANT * images - 0.5 * q @ matrix(r, sigma) @ q

    ratio = difference(14.0) / difference(21.0)
    assert abs(ratio / 1.5**power - 1) < 0.05


def test_float32_keeps_its_tolerance(structure, triclinic, matrix):
    r, sigma = structure(low=0.5)
    exact = matrix(r, sigma, triclinic)
    with jax.enable_x64(False):
        small = [jnp.asarray(np.asarray(x), jnp.float32) for x in (r, sigma, triclinic)]
        found = coulomb_matrix(*small)
        assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=3e-6 * COULOMB_CONSTANT)
