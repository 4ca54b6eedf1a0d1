"""The matrix-free route: it is the matrix, and its charges are the dense charges."""

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
operate = jax.jit(lambda r, w, c, plan, m, q: coulomb_operator(r, w, c, plan, m)(q))


@pytest.fixture
def problem():
    """Positions outside the cell too, widths, cell, charges, chi and hardness."""
    rng = np.random.default_rng(0)
    r, sigma = rng.uniform(-8, 20, (ATOMS, 3)), rng.uniform(0.3, 1.2, ATOMS)
    q, chi = rng.normal(size=ATOMS), rng.normal(0, 5, ATOMS)
    hardness = rng.uniform(5, 15, ATOMS)
    arrays = r, sigma, np.array(CELL), q, chi, hardness
    return tuple(jnp.asarray(x) for x in arrays)


def plan_for(r, cell, mask=None, **options):
    options = {"width_max": 1.2} | options
    return ParticleMesh.for_structures(cell, r, mask, **options)


@pytest.fixture
def exact(problem):
    r, sigma, cell = problem[:3]
    return coulomb_matrix(r, sigma, cell, ewald=Ewald.for_cells(cell, tolerance=1e-11))


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "mesh"])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_the_operator_is_the_matrix(problem, exact, direct, tolerance):
    r, sigma, cell, q, *_ = problem
    plan = plan_for(r, cell, direct=direct, tolerance=tolerance)
    assert (plan.mesh is None) == direct
    found = operate(r, sigma, cell, plan, None, q)
    # Errors of single elements, the bound, add up like those of random numbers.
    bound = tolerance * COULOMB_CONSTANT * 3 * jnp.linalg.norm(q)
    assert jnp.max(jnp.abs(found - exact @ q)) < bound


def test_the_operator_is_symmetric(problem):
    r, sigma, cell, *_ = problem
    plan = plan_for(r, cell, tolerance=1e-4)
    columns = jax.vmap(lambda q: operate(r, sigma, cell, plan, None, q))(jnp.eye(ATOMS))
    np.testing.assert_allclose(columns, columns.T, atol=1e-12)


@pytest.mark.parametrize(("direct", "accuracy"), [(True, 1e-8), (False, 1e-5)])
def test_charges_energy_and_slopes_are_the_dense_ones(problem, direct, accuracy):
    r, sigma, cell, _, chi, hardness = problem
    tolerance = 1e-10 if direct else 1e-6
    plan = plan_for(r, cell, direct=direct, tolerance=tolerance, margin=0.01)
    split = Ewald.for_cells(cell, tolerance=1e-10, margin=0.01)

    def energy(iterative, r, sigma, cell, chi, hardness, total):
        if iterative:
            operator = coulomb_operator(r, sigma, cell, plan)
            q = equilibrate(chi, hardness, operator, total)
            return q @ operator(q) / 2, q
        matrix = coulomb_matrix(r, sigma, cell, ewald=split)
        q = equilibrate(chi, hardness, matrix, total)
        return q @ matrix @ q / 2, q

    slope = jax.value_and_grad(energy, argnums=(1, 2, 3, 4, 5, 6), has_aux=True)
    slope = jax.jit(slope, static_argnums=0)
    for total in (0.0, -2.0):
        arguments = r, sigma, cell, chi, hardness, total
        (e, q), slopes = slope(True, *arguments)
        (e_dense, q_dense), slopes_dense = slope(False, *arguments)
        np.testing.assert_allclose(q, q_dense, atol=accuracy)
        np.testing.assert_allclose(e, e_dense, rtol=accuracy)
        assert abs(jnp.sum(q) - total) < 1e-12
        for a, b in zip(slopes, slopes_dense, strict=True):
            np.testing.assert_allclose(a, b, atol=10 * accuracy * jnp.max(jnp.abs(b)))


def test_slopes_of_slopes_through_the_mesh(problem, check_derivatives):
    r, sigma, cell, _, chi, hardness = problem
    plan = plan_for(r, cell, tolerance=1e-3, margin=0.1)

    def energy(r, strain, sigma):
        deform = jnp.eye(3) + strain
        operator = coulomb_operator(r @ deform, sigma, cell @ deform, plan)
        q = equilibrate(chi, hardness, operator, 1.0, tolerance=1e-12)
        return q @ operator(q) / 2

    check_derivatives(energy, r, jnp.zeros((3, 3)), sigma, rtol=1e-4)


def test_padding_and_a_batch_of_unequal_structures(problem):
    r, sigma, cell, q, chi, hardness = problem
    cells = jnp.stack([cell, jnp.diag(jnp.array([11.0, 7.0, 8.0])), cell])
    places = jnp.stack([r, r[::-1], r])
    mask = jnp.arange(ATOMS) < jnp.array([ATOMS, 15, 0])[:, None]
    places = places.at[1, 15:].set(jnp.nan)
    plan = plan_for(places, cells, mask, tolerance=1e-5)

    def charges(r, cell, mask, plan):
        operator = coulomb_operator(r, sigma, cell, plan, mask)
        return equilibrate(chi, hardness, operator, 1.0)

    found = jax.jit(jax.vmap(charges))(places, cells, mask, plan)
    assert not jnp.any(found[~mask])
    np.testing.assert_allclose(jnp.sum(found, axis=1), [1, 1, 0], atol=1e-12)
    for i, n in ((0, ATOMS), (1, 15)):
        split = Ewald.for_cells(cells[i], tolerance=1e-9)
        part = coulomb_matrix(places[i, :n], sigma[:n], cells[i], ewald=split)
        dense = equilibrate(chi[:n], hardness[:n], part, 1.0)
        np.testing.assert_allclose(found[i, :n], dense, atol=1e-5)
    slope = jax.jit(
        jax.grad(lambda r: jnp.sum(jax.vmap(charges)(r, cells, mask, plan) ** 2))
    )
    slopes = slope(jnp.where(mask[..., None], places, 0.0))
    assert jnp.all(jnp.isfinite(slopes)) and not jnp.any(slopes[~mask])


def test_pairs_are_those_of_ase(problem):
    r, _, cell, *_ = problem
    plan = plan_for(r, cell, tolerance=1e-3, skin=0.0, margin=0.0)
    own = np.arange(ATOMS)[:, None] == plan.neighbours
    i, place = np.nonzero(~own | np.any(plan.shifts, axis=-1))
    j, shift = np.asarray(plan.neighbours)[i, place], np.asarray(plan.shifts)[i, place]
    distance = np.linalg.norm(r[j] - r[i] + shift @ cell, axis=1)
    atoms = Atoms("H" * ATOMS, positions=np.asarray(r), cell=np.asarray(cell), pbc=True)
    cutoff = float(distance.max()) + 1e-9
    expected = neighbor_list("d", atoms, cutoff)
    np.testing.assert_allclose(np.sort(distance), np.sort(expected), rtol=1e-12)


def test_wrapping_and_moving_within_the_skin_change_nothing(problem):
    r, sigma, cell, q, *_ = problem
    plan = plan_for(r, cell, tolerance=1e-7, skin=0.6)
    whole = np.random.default_rng(1).integers(-2, 3, (ATOMS, 3))
    step = np.random.default_rng(2).uniform(-0.17, 0.17, (ATOMS, 3))
    moved = r + step
    assert plan.covers(cell, r) is True
    assert plan.covers(cell, moved + whole @ cell) is True
    found = operate(moved + whole @ cell, sigma, cell, plan, None, q)
    fresh = plan_for(moved, cell, tolerance=1e-7)
    expected = operate(moved, sigma, cell, fresh, None, q)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_beyond_the_plan_is_nan(problem):
    r, sigma, cell, q, *_ = problem
    plan = plan_for(r, cell, tolerance=1e-4, skin=0.6)
    far = r.at[3, 1].add(0.31)
    assert not plan.covers(cell, far) and plan.covers(cell, r)
    assert not plan.covers(1.01 * cell, r)
    inputs = {"r": r, "sigma": sigma, "cell": cell}
    for change in ({}, {"r": far}, {"cell": 1.01 * cell}, {"sigma": 1.3 + 0 * sigma}):
        r_, sigma_, cell_ = (inputs | change).values()
        found = operate(r_, sigma_, cell_, plan, None, q)
        assert jnp.all(jnp.isnan(found)) == bool(change)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "mesh"])
def test_derivatives_beyond_the_plan_are_nan(problem, direct):
    """Of the operator alone, whose charges are given and finite."""
    r, sigma, cell, q, *_ = problem
    plan = plan_for(r, cell, tolerance=1e-3, skin=0.6, direct=direct)

    @jax.jit
    def slopes(r, sigma, cell):
        energy = lambda *place: q @ coulomb_operator(*place, plan)(q)
        return jax.grad(energy, (0, 1, 2))(r, sigma, cell)

    def lost(*place):
        return [bool(jnp.all(jnp.isnan(slope))) for slope in slopes(*place)]

    assert not any(lost(r, sigma, cell))
    assert all(lost(r.at[3, 1].add(0.31), sigma, cell))
    assert all(lost(r, sigma, 1.01 * cell))


def test_conjugate_gradients_solve_or_say_nan():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(30, 30))
    matrix, side = (
        jnp.asarray(root @ root.T + np.eye(30)),
        jnp.asarray(rng.normal(size=30)),
    )
    product = lambda v: matrix @ v
    found, steps = conjugate_gradients(product, side, lambda v: v, tolerance=1e-10)
    np.testing.assert_allclose(matrix @ found, side, atol=1e-8)
    inverse = jnp.linalg.inv(matrix)
    exact, few = conjugate_gradients(
        product, side, lambda v: inverse @ v, tolerance=1e-10
    )
    assert few <= 2 < steps
    np.testing.assert_allclose(exact, found, atol=1e-8)
    failed, _ = conjugate_gradients(
        product, side, lambda v: v, tolerance=1e-10, max_steps=3
    )
    assert jnp.all(jnp.isnan(failed))


def test_the_preconditioner_is_positive_and_saves_steps():
    """In a slab of atoms within a large cell, where long waves are strong."""
    rng = np.random.default_rng(1)
    cell = jnp.asarray(np.diag([14.0, 14.0, 30.0]))
    r = jnp.asarray(rng.uniform(0, 14, (200, 3)) * [1, 1, 0.8])
    sigma, hardness = jnp.full(200, 1.0), jnp.full(200, 2.0)
    chi = jnp.asarray(rng.normal(size=200))
    plan = plan_for(r, cell, tolerance=1e-4)
    operator = jax.jit(coulomb_operator)(r, sigma, cell, plan)
    product = lambda v: operator(v) + hardness * v
    inverse = operator.preconditioner(hardness)
    columns = jax.vmap(inverse)(jnp.eye(200))
    np.testing.assert_allclose(columns, columns.T, atol=1e-14)
    assert jnp.linalg.eigvalsh(columns)[0] > 0
    own = hardness + COULOMB_CONSTANT / np.sqrt(np.pi)
    steps = [
        jax.jit(lambda v, m=m: conjugate_gradients(product, v, m, tolerance=1e-6)[1])
        for m in (inverse, lambda v: v / own)
    ]
    with_waves, diagonal = (int(step(chi)) for step in steps)
    assert with_waves < 0.8 * diagonal


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_max": 0.0}, "`width_max` is a width and must be positive and finite"),
        ({"tolerance": 0.0}, "`tolerance` is an error between"),
        ({"skin": -1.0}, "`skin` and `margin` must not be negative, got -1.0"),
    ],
)
def test_bad_numbers_are_refused(problem, options, message):
    with pytest.raises(ValueError, match=message):
        plan_for(problem[0], problem[2], **options)


def test_bad_input_is_refused(problem):
    r, sigma, cell, *_ = problem
    plan = plan_for(r, cell, tolerance=1e-2)
    with pytest.raises(ValueError, match="there are 5 atoms: make one for this"):
        coulomb_operator(r[:5], sigma[:5], cell, plan)
    with pytest.raises(ValueError, match="Every width must be positive"):
        coulomb_operator(r, sigma.at[0].set(-1.0), cell, plan)
    with pytest.raises(ValueError, match="traced, so the pairs are unknown"):
        jax.jit(lambda r: plan_for(r, cell))(r)
    with pytest.raises(ValueError, match="is singular"):
        plan_for(r, np.diag([8.0, 8.0, 0.0]))
