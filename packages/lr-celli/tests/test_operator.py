"""The matrix-free operator: comparison with the Coulomb matrix and the dense solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from lr_celli import (
    COULOMB_CONSTANT,
    Ewald,
    ParticleMesh,
    conjugate_gradients,
    coulomb_matrix,
    coulomb_operator,
    equilibrate,
)

CELL = [[9.0, 0.3, 0], [2.5, 8.5, 0], [-2.0, 1.8, 9.0]]
ATOMS = 24


@jax.jit
def apply_operator(positions, widths, cell, plan, charges):
    return coulomb_operator(widths, positions, cell, plan=plan)(charges)


@pytest.fixture
def problem():
    """Positions also outside the cell, widths, cell, charges, chi and hardness."""
    rng = np.random.default_rng(0)
    r, sigma = rng.uniform(-8, 20, (ATOMS, 3)), rng.uniform(0.3, 1.2, ATOMS)
    q, chi = rng.normal(size=ATOMS), rng.normal(0, 5, ATOMS)
    hardness = rng.uniform(5, 15, ATOMS)
    return r, sigma, np.array(CELL), q, chi, hardness


def make_plan(r, cell, mask=None, **options):
    options = {"width_max": 1.2} | options
    return ParticleMesh.for_structures(cell, r, mask, **options)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "mesh"])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_the_operator_is_the_matrix(problem, matrix, direct, tolerance):
    r, sigma, cell, q, *_ = problem
    plan = make_plan(r, cell, direct=direct, tolerance=tolerance)
    assert (plan.mesh is None) == direct
    potential = apply_operator(r, sigma, cell, plan, q)
    # The tolerance bounds the error of each element; errors add up like random numbers.
    bound = tolerance * COULOMB_CONSTANT * 3 * np.linalg.norm(q)
    assert np.max(np.abs(potential - matrix(r, sigma, cell) @ q)) < bound


def test_the_operator_is_symmetric(problem):
    r, sigma, cell, *_ = problem
    plan = make_plan(r, cell, tolerance=1e-4)
    apply = lambda q: apply_operator(r, sigma, cell, plan, q)
    columns = np.asarray(jax.jit(jax.vmap(apply))(np.eye(ATOMS)))
    np.testing.assert_allclose(columns, columns.T, atol=1e-12)


@jax.jit
def energy_charges_and_gradients(plan, *arguments):
    """With the operator if the plan is a mesh, else with the matrix."""

    def energy(r, sigma, cell, chi, hardness, total):
        if isinstance(plan, ParticleMesh):
            operator = coulomb_operator(sigma, r, cell, plan=plan)
            q = equilibrate(chi, hardness, operator, total)
            return q @ operator(q) / 2, q
        matrix = coulomb_matrix(sigma, r, cell, plan=plan)
        q = equilibrate(chi, hardness, matrix, total)
        return q @ matrix @ q / 2, q

    return jax.value_and_grad(energy, argnums=tuple(range(6)), has_aux=True)(*arguments)


@pytest.mark.parametrize(("direct", "accuracy"), [(True, 1e-8), (False, 1e-5)])
def test_charges_energy_and_gradients_match_the_dense_solve(problem, direct, accuracy):
    r, sigma, cell, _, chi, hardness = problem
    tolerance = 1e-10 if direct else 1e-6
    mesh = make_plan(r, cell, direct=direct, tolerance=tolerance, margin=0.01)
    ewald = Ewald.for_structures(cell, r, tolerance=1e-10, margin=0.01)
    for total in (0.0, -2.0):
        arguments = r, sigma, cell, chi, hardness, total
        results = [energy_charges_and_gradients(p, *arguments) for p in (mesh, ewald)]
        (e, q), gradients = jax.device_get(results[0])
        (e_dense, q_dense), gradients_dense = jax.device_get(results[1])
        np.testing.assert_allclose(q, q_dense, atol=accuracy)
        np.testing.assert_allclose(e, e_dense, rtol=accuracy)
        assert abs(np.sum(q) - total) < 1e-12
        for a, b in zip(gradients, gradients_dense, strict=True):
            np.testing.assert_allclose(a, b, atol=10 * accuracy * np.max(np.abs(b)))


def test_second_derivatives_through_the_mesh(problem, check_derivatives):
    r, sigma, cell, _, chi, hardness = map(jnp.asarray, problem)
    plan = make_plan(r, cell, tolerance=1e-3, margin=0.1)

    def energy(r, strain, sigma):
        deformation = jnp.eye(3) + strain
        operator = coulomb_operator(
            sigma, r @ deformation, cell @ deformation, plan=plan
        )
        q = equilibrate(chi, hardness, operator, 1.0, tolerance=1e-12)
        return q @ operator(q) / 2

    check_derivatives(energy, r, np.zeros((3, 3)), sigma, rtol=1e-4)


@jax.jit
def dense_charges(positions, widths, cell, plan, chi, hardness):
    coulomb = coulomb_matrix(widths, positions, cell, plan=plan)
    return equilibrate(chi, hardness, coulomb, 1.0)


def test_padding_and_a_batch_of_unequal_structures(problem):
    r, sigma, cell, q, chi, hardness = problem
    cells = np.stack([cell, np.diag([11.0, 7.0, 8.0]), cell])
    positions = np.stack([r, r[::-1], r])
    mask = np.arange(ATOMS) < np.array([ATOMS, 15, 0])[:, None]
    positions[1, 15:] = np.nan
    plan = make_plan(positions, cells, mask, tolerance=1e-5)

    def charges(r, cell, mask, plan):
        operator = coulomb_operator(jnp.asarray(sigma), r, cell, plan=plan, mask=mask)
        return equilibrate(jnp.asarray(chi), jnp.asarray(hardness), operator, 1.0)

    @jax.jit
    def gradient_and_charges(positions):
        def loss(positions):
            results = jax.vmap(charges)(
                positions, *map(jnp.asarray, (cells, mask)), plan
            )
            return jnp.sum(results**2), results

        return jax.grad(loss, has_aux=True)(positions)

    actual = np.asarray(gradient_and_charges(positions)[1])
    assert not np.any(actual[~mask])
    np.testing.assert_allclose(np.sum(actual, axis=1), [1, 1, 0], atol=1e-12)
    for i, n in ((0, ATOMS), (1, 15)):
        ewald = Ewald.for_structures(cells[i], positions[i], tolerance=1e-9)
        part = positions[i, :n], sigma[:n], cells[i], ewald, chi[:n], hardness[:n]
        np.testing.assert_allclose(actual[i, :n], dense_charges(*part), atol=1e-5)
    gradient = gradient_and_charges(np.where(mask[..., None], positions, 0.0))[0]
    assert np.all(np.isfinite(gradient)) and not np.any(np.asarray(gradient)[~mask])


def test_neighbors_match_ase(problem):
    r, _, cell, *_ = problem
    plan = make_plan(r, cell, tolerance=1e-3, skin=0.0, margin=0.0)
    neighbors, shifts = np.asarray(plan.neighbors), np.asarray(plan.shifts)
    unused = (np.arange(ATOMS)[:, None] == neighbors) & ~np.any(shifts, axis=-1)
    i, column = np.nonzero(~unused)
    j, shift = neighbors[i, column], shifts[i, column]
    distance = np.linalg.norm(r[j] - r[i] + shift @ cell, axis=1)
    atoms = Atoms("H" * ATOMS, positions=r, cell=cell, pbc=True)
    cutoff = float(distance.max()) + 1e-9
    expected = neighbor_list("d", atoms, cutoff)
    np.testing.assert_allclose(np.sort(distance), np.sort(expected), rtol=1e-12)


def test_wrapping_and_moving_within_the_skin_keep_the_potential(problem):
    r, sigma, cell, q, *_ = problem
    plan = make_plan(r, cell, tolerance=1e-7, skin=0.6)
    wraps = np.random.default_rng(1).integers(-2, 3, (ATOMS, 3))
    step = np.random.default_rng(2).uniform(-0.17, 0.17, (ATOMS, 3))
    displaced = r + step
    assert plan.covers(cell, r) is True
    assert plan.covers(cell, displaced + wraps @ cell) is True
    actual = apply_operator(displaced + wraps @ cell, sigma, cell, plan, q)
    new_plan = make_plan(displaced, cell, tolerance=1e-7)
    expected = apply_operator(displaced, sigma, cell, new_plan, q)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.fixture
def displaced(problem):
    """Positions with one atom moved by more than half of a skin of 0.6 Å."""
    positions = problem[0].copy()
    positions[3, 1] += 0.31
    return positions


def test_potentials_are_nan_if_not_covered(problem, displaced):
    r, sigma, cell, q, *_ = problem
    plan = make_plan(r, cell, tolerance=1e-4, skin=0.6)
    assert not plan.covers(cell, displaced) and plan.covers(cell, r)
    assert not plan.covers(1.01 * cell, r)
    inputs = {"r": r, "sigma": sigma, "cell": cell}
    changes = (
        {},
        {"r": displaced},
        {"cell": 1.01 * cell},
        {"sigma": np.full(ATOMS, 1.3)},
    )
    for change in changes:
        potential = apply_operator(*(inputs | change).values(), plan, q)
        assert np.all(np.isnan(potential)) == bool(change)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "mesh"])
def test_derivatives_are_nan_if_not_covered(problem, displaced, direct):
    """Derivatives of the operator at given finite charges."""
    r, sigma, cell, q, *_ = problem
    plan = make_plan(r, cell, tolerance=1e-3, skin=0.6, direct=direct)

    @jax.jit
    def gradients(r, sigma, cell):
        energy = lambda r, sigma, cell: (
            q @ coulomb_operator(sigma, r, cell, plan=plan)(jnp.asarray(q))
        )
        return jax.grad(energy, (0, 1, 2))(r, sigma, cell)

    def are_nan(*arguments):
        return [bool(np.all(np.isnan(x))) for x in gradients(*arguments)]

    assert not any(are_nan(r, sigma, cell))
    assert all(are_nan(displaced, sigma, cell))
    assert all(are_nan(r, sigma, 1.01 * cell))


def test_conjugate_gradients_converge_or_return_nan():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(30, 30))
    matrix, rhs = root @ root.T + np.eye(30), rng.normal(size=30)
    inverse = np.linalg.inv(matrix)

    @jax.jit
    def solutions(rhs):
        solve = lambda preconditioner, **options: conjugate_gradients(
            lambda v: matrix @ v, rhs, preconditioner, tolerance=1e-10, **options
        )
        identity = lambda v: v
        exact = solve(lambda v: inverse @ v)
        return solve(identity), exact, solve(identity, max_steps=3)

    (solution, steps), (exact, few), (failed, _) = jax.device_get(solutions(rhs))
    np.testing.assert_allclose(matrix @ solution, rhs, atol=1e-8)
    assert few <= 2 < steps
    np.testing.assert_allclose(exact, solution, atol=1e-8)
    assert np.all(np.isnan(failed))


def test_the_preconditioner_is_positive_definite_and_saves_steps():
    """For a slab of atoms in a large cell, where long wavelengths dominate."""
    rng = np.random.default_rng(1)
    cell = np.diag([14.0, 14.0, 30.0])
    r = rng.uniform(0, 14, (200, 3)) * [1, 1, 0.8]
    sigma, hardness = np.full(200, 1.0), np.full(200, 2.0)
    chi = rng.normal(size=200)
    plan = make_plan(r, cell, tolerance=1e-4)
    diagonal = hardness + COULOMB_CONSTANT / np.sqrt(np.pi)

    @jax.jit
    def inverse_and_steps(r, sigma, cell, hardness, chi):
        operator = coulomb_operator(sigma, r, cell, plan=plan)
        inverse = operator.preconditioner(hardness)
        steps = [
            conjugate_gradients(
                lambda v: operator(v) + hardness * v, chi, m, tolerance=1e-6
            )[1]
            for m in (inverse, lambda v: v / diagonal)
        ]
        return jax.vmap(inverse)(jnp.eye(200)), steps

    columns, (steps, diagonal_steps) = jax.device_get(
        inverse_and_steps(r, sigma, cell, hardness, chi)
    )
    np.testing.assert_allclose(columns, columns.T, atol=1e-14)
    assert np.linalg.eigvalsh(columns)[0] > 0
    assert steps < 0.8 * diagonal_steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_max": 0.0}, "`width_max` is a width and must be positive and finite"),
        ({"tolerance": 0.0}, "`tolerance` is an error between"),
        ({"skin": -1.0}, "`skin` and `margin` must not be negative, got -1.0"),
    ],
)
def test_numbers_out_of_range_raise(problem, options, message):
    with pytest.raises(ValueError, match=message):
        make_plan(problem[0], problem[2], **options)


def test_invalid_input_raises(problem):
    r, sigma, cell, *_ = problem
    plan = make_plan(r, cell, tolerance=1e-2)
    call = lambda *arrays: coulomb_operator(*map(jnp.asarray, arrays), plan=plan)
    with pytest.raises(ValueError, match="there are 5 atoms: make one for this"):
        call(sigma[:5], r[:5], cell)
    with pytest.raises(ValueError, match="Every width must be positive"):
        call(np.where(np.arange(ATOMS) == 0, -1.0, sigma), r, cell)
    with pytest.raises(ValueError, match="traced, so the neighbors are unknown"):
        jax.jit(lambda r: make_plan(r, cell))(r)
    with pytest.raises(ValueError, match="is singular"):
        make_plan(r, np.diag([8.0, 8.0, 0.0]))
