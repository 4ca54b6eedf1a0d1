"""Equilibrated charges: the bordered system, limits, derivatives and invalid input."""

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

TOTAL_CHARGES = [-2.0, -1.0, 0.0, 1.0, 2.0]

solve = jax.jit(equilibrate)
open_matrix = jax.jit(coulomb_matrix)


@pytest.fixture
def problem(structure, matrix):
    """Electronegativity, hardness and the Coulomb matrix of six atoms."""
    rng = np.random.default_rng(3)
    chi, hardness = rng.normal(0, 5, 6), rng.uniform(1, 15, 6)
    return chi, hardness, matrix(*structure())


@pytest.mark.parametrize("total", TOTAL_CHARGES)
def test_charges_solve_the_bordered_system(problem, total):
    chi, hardness, coulomb = problem
    bordered = np.ones((7, 7))
    bordered[:6, :6] = coulomb + np.diag(hardness)
    bordered[6, 6] = 0.0
    expected = np.linalg.solve(bordered, [*-chi, total])[:6]
    charges = np.asarray(solve(*problem, total))
    np.testing.assert_allclose(charges, expected, atol=1e-12)
    assert abs(np.sum(charges) - total) < 1e-12


def test_all_atoms_have_the_same_chemical_potential(problem):
    chi, hardness, coulomb = problem
    q = np.asarray(solve(*problem, 1.0))
    energy = lambda q: chi @ q + hardness @ q**2 / 2 + q @ coulomb @ q / 2
    assert np.ptp(jax.jit(jax.grad(energy))(q)) < 1e-6
    for seed in range(5):
        step = np.random.default_rng(seed).normal(size=6)
        assert energy(q) < energy(q + 0.01 * (step - step.mean()))


def test_adding_a_constant_to_electronegativities_keeps_the_charges(problem):
    chi, hardness, coulomb = problem
    shifted = solve(chi + 1e4, hardness, coulomb, 1.0)
    np.testing.assert_allclose(shifted, solve(*problem, 1.0), atol=1e-10)


def test_large_hardness_distributes_the_charge_by_inverse_hardness(problem):
    chi, hardness, coulomb = problem
    charges = solve(chi, 1e8 * hardness, coulomb, 2.0)
    np.testing.assert_allclose(charges, 2 / hardness / np.sum(1 / hardness), atol=1e-5)


def test_distant_atoms_exchange_charge():
    """A known defect of charge equilibration: the transfer does not decay."""
    r = jnp.array([[0.0, 0, 0], [1e6, 0, 0]])
    sigma, hardness = jnp.array([0.7, 0.9]), jnp.array([10.0, 13.0])
    q = equilibrate(jnp.array([0.0, 4.0]), hardness, open_matrix(sigma, r), 0.0)
    stiffness = hardness + COULOMB_CONSTANT / sigma / math.sqrt(math.pi)
    np.testing.assert_allclose(q[0], 4.0 / np.sum(stiffness), rtol=1e-4)


def test_derivatives_to_second_order(problem, check_derivatives):
    weights = np.arange(1.0, 7.0)

    def value(chi, hardness, half, total):
        q = equilibrate(chi, hardness, half + half.T, total)
        return jnp.sum(weights * q**2)

    chi, hardness, coulomb = problem
    arguments = chi, hardness, coulomb / 2, np.array(1.0)
    check_derivatives(value, *arguments)
    tangents = tuple(np.full(x.shape, 0.3) for x in arguments)
    forward = lambda f: lambda *a: jax.jvp(f, a, tangents)[1]
    backward = lambda f: (
        lambda *a: sum(jnp.sum(0.3 * g) for g in jax.grad(f, (0, 1, 2, 3))(*a))
    )
    for inner in (forward, backward):
        actual = jax.jit(forward(inner(value)))(*arguments)
        expected = jax.jit(backward(backward(value)))(*arguments)
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_sums_and_the_assembled_matrix_give_the_same_derivatives(
    structure, triclinic, problem
):
    """Compares a sum of forces and its gradients."""
    r, sigma = structure()
    chi, hardness, _ = problem
    plan = Ewald.for_structures(triclinic, r, tolerance=1e-9, margin=0.1)
    mask = jnp.asarray(np.arange(6) < 5)

    def energy(make, r, sigma, cell, chi, hardness, total):
        coulomb = make(sigma, r, cell, plan=plan, mask=mask)
        q = equilibrate(chi, hardness, coulomb, total, mask=mask)
        potential = coulomb @ q if make is coulomb_matrix else coulomb(q)
        return jnp.sum(q**3) + q @ potential / 2

    def energy_and_forces(make, *arguments):
        value, gradient = jax.value_and_grad(energy, 1)(make, *arguments)
        return value + jnp.sum(gradient * jnp.arange(3.0))

    gradients = jax.value_and_grad(energy_and_forces, tuple(range(1, 7)))
    actual, expected = (
        jax.jit(ft.partial(gradients, make))(r, sigma, triclinic, chi, hardness, 1.0)
        for make in (coulomb_sums, coulomb_matrix)
    )
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)

    @jax.jit
    def charges(r, sigma, chi, hardness):
        sums = coulomb_sums(sigma, r, triclinic, plan=plan)
        matrix = sums.matrix()
        return [equilibrate(chi, hardness, a, 1.0, mask=mask) for a in (sums, matrix)]

    np.testing.assert_allclose(*charges(r, sigma, chi, hardness), atol=1e-12)
    sums = jax.eval_shape(lambda r, s: coulomb_sums(s, r), r[:5], sigma[:5])
    with pytest.raises(ValueError, match=r"`coulomb.real_space` has shape \[6, 6\]"):
        equilibrate(jnp.asarray(chi), jnp.asarray(hardness), sums, 0.0)


def test_padding_is_inert(problem):
    chi, hardness, coulomb = problem
    mask = np.arange(6) < 4
    invalid = np.where(mask, chi, np.nan), np.where(mask, hardness, -1.0)
    charges = np.asarray(solve(*invalid, coulomb, 1.0, mask=mask))
    part = solve(chi[:4], hardness[:4], coulomb[:4, :4], 1.0)
    np.testing.assert_allclose(charges[:4], part, atol=1e-13)
    assert not np.any(charges[4:])


def test_a_graph_of_padding_has_zero_charges_and_finite_gradients(problem):
    mask = jnp.zeros(6, bool)
    total = lambda *a: jnp.sum(equilibrate(*a, 1.0, mask=mask) ** 2)
    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*problem)
    assert value == 0
    assert all(not np.any(g) for g in gradients)


def test_one_atom_has_the_total_charge():
    one = np.ones(1)
    np.testing.assert_allclose(solve(one, one, one[:, None], 2.0), [2.0])


def test_coincident_atoms_share_charge_by_inverse_hardness(structure):
    r, sigma = structure()
    r[1], sigma[1] = r[0], sigma[0]
    chi = jnp.array([0.0, 0.0, 2.0, 3.0, 4.0, 5.0])
    coulomb = open_matrix(sigma, r)
    q = np.asarray(solve(chi, np.array([0.1, 0.3, 0.1, 0.1, 0.1, 0.1]), coulomb, 1.0))
    np.testing.assert_allclose(q[0], 3 * q[1], rtol=1e-9)
    total = lambda hardness: jnp.sum(equilibrate(chi, hardness, coulomb, 1.0) ** 2)
    assert np.all(np.isfinite(jax.jit(jax.grad(total))(np.full(6, 1e-6))))


def test_a_matrix_that_is_not_positive_definite_raises(structure):
    r, sigma = structure()
    r[1], sigma[1] = r[0], sigma[0]
    coulomb = np.asarray(open_matrix(sigma, r)) - 0.01 * np.eye(6)
    with pytest.raises(
        ValueError, match="not positive definite with this.*raise the hard"
    ):
        arguments = map(jnp.asarray, (np.ones(6), np.full(6, 1e-3), coulomb))
        equilibrate(*arguments, 0.0)


def test_invalid_input_raises(problem):
    chi, hardness, coulomb = map(jnp.asarray, problem)
    negative = jnp.asarray(np.where(np.arange(6) == 1, -2.0, problem[1]))
    with pytest.raises(ValueError, match="Every hardness must be positive.*-2.0 eV/e²"):
        equilibrate(chi, negative, coulomb, 0.0)
    with pytest.raises(ValueError, match="`total_charge` is a finite number.*got nan"):
        equilibrate(chi, hardness, coulomb, math.nan)


@pytest.mark.parametrize("total", TOTAL_CHARGES)
def test_float32_conserves_the_charge(total):
    rng = np.random.default_rng(0)
    with jax.enable_x64(False):
        r = rng.uniform(0, 12, (200, 3)).astype(np.float32)
        sigma = rng.uniform(0.3, 1.5, 200).astype(np.float32)
        chi = rng.normal(0, 5, 200).astype(np.float32)
        hardness = np.full(200, 2.0, np.float32)
        q = np.asarray(solve(chi, hardness, open_matrix(sigma, r), total))
        assert q.dtype == np.float32
    # Summed in float64; charges reach 5 e and have rounding errors of 1e-7 of that.
    assert 0.5 < np.abs(q).max() < 6
    assert abs(np.sum(q.astype(float)) - total) < 1e-5
