"""Charges of least energy: against the bordered system, limits, derivatives."""

import functools as ft
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli import (
    COULOMB_CONSTANT,
    Ewald,
    coulomb_matrix,
    coulomb_sums,
    equilibrate,
)

TOTALS = [-2.0, -1.0, 0.0, 1.0, 2.0]


@pytest.fixture
def problem(structure):
    """Electronegativity, hardness and the Coulomb matrix of six atoms."""
    rng = np.random.default_rng(3)
    chi, hardness = rng.normal(0, 5, 6), rng.uniform(1, 15, 6)
    return jnp.asarray(chi), jnp.asarray(hardness), coulomb_matrix(*structure())


solve = jax.jit(equilibrate)


@pytest.mark.parametrize("total", TOTALS)
def test_charges_solve_the_bordered_system(problem, total):
    chi, hardness, coulomb = map(np.asarray, problem)
    bordered = np.ones((7, 7))
    bordered[:6, :6] = coulomb + np.diag(hardness)
    bordered[6, 6] = 0.0
    expected = np.linalg.solve(bordered, [*-chi, total])[:6]
    found = solve(*problem, total)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert abs(jnp.sum(found) - total) < 1e-12


def test_all_atoms_have_one_chemical_potential(problem):
    chi, hardness, coulomb = problem
    q = solve(*problem, 1.0)
    energy = lambda q: chi @ q + hardness @ q**2 / 2 + q @ coulomb @ q / 2
    assert jnp.ptp(jax.grad(energy)(q)) < 1e-6
    for seed in range(5):
        step = np.random.default_rng(seed).normal(size=6)
        assert energy(q) < energy(q + 0.01 * (step - step.mean()))


def test_a_constant_moves_no_charge(problem):
    chi, hardness, coulomb = problem
    moved = solve(chi + 1e4, hardness, coulomb, 1.0)
    np.testing.assert_allclose(moved, solve(*problem, 1.0), atol=1e-10)


def test_great_hardness_shares_the_charge_out(problem):
    chi, hardness, coulomb = problem
    found = solve(chi, 1e8 * hardness, coulomb, 2.0)
    np.testing.assert_allclose(found, 2 / hardness / jnp.sum(1 / hardness), atol=1e-5)


def test_far_fragments_exchange_charge_as_one():
    """The known defect of charge equilibration: distance does not stop the charge."""
    r = jnp.array([[0.0, 0, 0], [1e6, 0, 0]])
    sigma, hardness = jnp.array([0.7, 0.9]), jnp.array([10.0, 13.0])
    q = equilibrate(jnp.array([0.0, 4.0]), hardness, coulomb_matrix(r, sigma), 0.0)
    stiffness = hardness + COULOMB_CONSTANT / sigma / math.sqrt(math.pi)
    np.testing.assert_allclose(q[0], 4.0 / jnp.sum(stiffness), rtol=1e-4)


def test_derivatives_to_second_order(problem, check_derivatives):
    weights = jnp.arange(1.0, 7.0)

    def value(chi, hardness, half, total):
        q = equilibrate(chi, hardness, half + half.T, total)
        return jnp.sum(weights * q**2)

    chi, hardness, coulomb = problem
    arguments = chi, hardness, coulomb / 2, jnp.array(1.0)
    check_derivatives(value, *arguments)
    tangents = tuple(jnp.full(x.shape, 0.3) for x in arguments)
    forward = lambda f: lambda *a: jax.jvp(f, a, tangents)[1]
    backward = lambda f: (
        lambda *a: sum(jnp.sum(0.3 * g) for g in jax.grad(f, (0, 1, 2, 3))(*a))
    )
    for inner in (forward, backward):
        found = jax.jit(forward(inner(value)))(*arguments)
        expected = jax.jit(backward(backward(value)))(*arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_sums_and_the_assembled_matrix_are_one(structure, triclinic, problem):
    """A sum of forces, and its slopes, by two routes."""
    r, sigma = structure()
    chi, hardness, _ = problem
    split = Ewald.for_cells(triclinic, tolerance=1e-9, margin=0.1)
    mask = jnp.arange(6) < 5

    def energy(form, r, sigma, cell, chi, hardness, total):
        coulomb = form(r, sigma, cell, ewald=split, mask=mask)
        q = equilibrate(chi, hardness, coulomb, total, mask)
        potential = coulomb @ q if form is coulomb_matrix else coulomb(q)
        return jnp.sum(q**3) + q @ potential / 2

    def pull(form, *arguments):
        value, slope = jax.value_and_grad(energy, 1)(form, *arguments)
        return value + jnp.sum(slope * jnp.arange(3.0))

    slopes = jax.value_and_grad(pull, tuple(range(1, 7)))
    found, expected = (
        jax.jit(ft.partial(slopes, form))(r, sigma, triclinic, chi, hardness, 1.0)
        for form in (coulomb_sums, coulomb_matrix)
    )
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    whole = coulomb_sums(r, sigma, triclinic, ewald=split)
    charges = equilibrate(chi, hardness, whole, 1.0, mask)
    dense = equilibrate(chi, hardness, whole.matrix(), 1.0, mask)
    np.testing.assert_allclose(charges, dense, atol=1e-12)
    wrong = coulomb_sums(r[:5], sigma[:5], triclinic, ewald=split)
    with pytest.raises(ValueError, match=r"`coulomb.near` has shape \[6, 6\]"):
        equilibrate(chi, hardness, wrong, 0.0)


def test_padding_is_inert(problem):
    chi, hardness, coulomb = problem
    mask = jnp.arange(6) < 4
    arguments = chi.at[5].set(jnp.nan), hardness.at[4:].set(-1.0), coulomb
    found = solve(*arguments, 1.0, mask)
    part = solve(chi[:4], hardness[:4], coulomb[:4, :4], 1.0)
    np.testing.assert_allclose(found[:4], part, atol=1e-13)
    assert not jnp.any(found[4:])


def test_nothing_but_padding_has_no_charge_and_finite_gradients(problem):
    mask = jnp.zeros(6, bool)
    total = lambda *a: jnp.sum(equilibrate(*a, 1.0, mask) ** 2)
    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*problem)
    assert value == 0
    assert all(not jnp.any(g) for g in gradients)


def test_one_atom_takes_everything():
    one = jnp.ones(1)
    np.testing.assert_allclose(equilibrate(one, one, one[:, None], 2.0), [2.0])


def test_coincident_atoms_share_by_their_hardness(structure):
    r, sigma = structure()
    r, sigma = r.at[1].set(r[0]), sigma.at[1].set(sigma[0])
    chi = jnp.arange(6.0).at[1].set(0.0)

    def charges(hardness):
        return equilibrate(chi, hardness, coulomb_matrix(r, sigma), 1.0)

    q = charges(jnp.full(6, 0.1).at[1].set(0.3))
    np.testing.assert_allclose(q[0], 3 * q[1], rtol=1e-9)
    slope = jax.grad(lambda h: jnp.sum(charges(h) ** 2))(jnp.full(6, 1e-6))
    assert jnp.all(jnp.isfinite(slope))


def test_a_singular_matrix_is_an_error(structure):
    r, sigma = structure()
    r, sigma = r.at[1].set(r[0]), sigma.at[1].set(sigma[0])
    with pytest.raises(
        ValueError, match="not positive definite with this.*raise the hard"
    ):
        coulomb = coulomb_matrix(r, sigma) - 0.01 * jnp.eye(6)
        equilibrate(jnp.ones(6), jnp.full(6, 1e-3), coulomb, 0.0)


def test_bad_input_is_refused(problem):
    chi, hardness, coulomb = problem
    with pytest.raises(ValueError, match="Every hardness must be positive.*-2.0 eV/e²"):
        equilibrate(chi, hardness.at[1].set(-2.0), coulomb, 0.0)
    with pytest.raises(ValueError, match="`total_charge` is a finite number.*got nan"):
        equilibrate(chi, hardness, coulomb, math.nan)


@pytest.mark.parametrize("total", TOTALS)
def test_float32_conserves_the_charge(total):
    rng = np.random.default_rng(0)
    with jax.enable_x64(False):
        r = jnp.asarray(rng.uniform(0, 12, (200, 3)), jnp.float32)
        sigma = jnp.asarray(rng.uniform(0.3, 1.5, 200), jnp.float32)
        chi = jnp.asarray(rng.normal(0, 5, 200), jnp.float32)
        hardness = jnp.full(200, 2.0, jnp.float32)
        q = solve(chi, hardness, compiled_open(r, sigma), total)
        assert q.dtype == jnp.float32
    # Summed in float64; single charges reach 5 e and are rounded to 1e-7 of that.
    assert 0.5 < np.abs(q).max() < 6
    assert abs(np.sum(np.asarray(q, float)) - total) < 1e-5


compiled_open = jax.jit(coulomb_matrix)
