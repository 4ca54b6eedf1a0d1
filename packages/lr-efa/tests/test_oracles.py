"""Reference values: an independent implementation, SciPy, closed forms."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_efa import LebedevGrid, OpenPlan, attend, frequency_grid, lebedev_grid
from lr_efa._bessel import bessel_over_power
from scipy.special import spherical_jn

ORACLE = json.loads((Path(__file__).parent / "data" / "efa.json").read_text())
GRAPHS = np.array(ORACLE["seg"])


def for_each_graph(call):
    """The rows of both graphs of the reference data, concatenated."""
    x, r = np.array(ORACLE["x"]), np.array(ORACLE["pos"])
    members = [np.flatnonzero(g == GRAPHS) for g in range(2)]
    return np.concatenate([call(jnp.asarray(x[i]), jnp.asarray(r[i])) for i in members])


@pytest.mark.parametrize(
    ("name", "b_max", "order"), [("l0_leb50", np.pi, 11), ("l0_leb194", 4 * np.pi, 23)]
)
def test_scalars_are_those_of_the_independent_implementation(name, b_max, order):
    omegas = frequency_grid(2, b_max / 10)
    plan = OpenPlan(LebedevGrid(order, accuracy=1e-5), omegas[-1])
    options = {"quadrature": name, "exact": f"{name}_closed"}
    for method, column in options.items():
        compiled = jax.jit(
            lambda x, r, m=method: attend(
                x, x, x, r, frequencies=omegas, method=m, plan=plan
            )
        )
        result = for_each_graph(compiled)
        np.testing.assert_allclose(result, ORACLE[column], rtol=1e-12, atol=1e-13)


def test_directions_are_those_of_the_independent_implementation():
    # The harmonics of the reference are Racah-normalized and ordered (x^2-y^2, xy, xz,
    # yz, z^2). Both bases are written as Cartesian forms to convert ours to theirs.
    omegas = frequency_grid(2, np.pi / 10)
    exact = for_each_graph(
        jax.jit(
            lambda x, r: attend(
                *(x[:, None],) * 3, r, frequencies=omegas, degree=2, method="exact"
            )
        )
    )
    u = np.random.default_rng(0).normal(size=(30, 3))
    x, y, z = (u / np.linalg.norm(u, axis=1)[:, None]).T
    half, root = np.sqrt(3) / 2, np.sqrt(3)
    theirs = np.stack([half * (x**2 - y**2), root * x * y, root * x * z, root * y * z])
    theirs = np.concatenate([theirs, [z**2 - (x**2 + y**2) / 2]])
    ours = np.stack([root * x * z, root * x * y, y**2 - (x**2 + z**2) / 2])
    ours = np.concatenate([ours, [root * y * z, half * (z**2 - x**2)]])
    change = np.linalg.lstsq(ours.T, theirs.T, rcond=None)[0].T
    expected = np.array(ORACLE["ti_L2"])[:, 0]
    np.testing.assert_allclose(exact[:, 0], expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(exact[:, 1:4] / root, expected[:, 1:4], atol=1e-9)
    second = np.einsum("ij,njv->niv", change, exact[:, 4:]) / np.sqrt(5)
    # The error of their grid of 50 points is 3e-9 in the second degree.
    np.testing.assert_allclose(second, expected[:, 4:], atol=1e-8)


@pytest.mark.parametrize("degree", range(7))
def test_bessel_functions_and_derivatives_are_those_of_scipy(degree):
    x = np.concatenate([np.geomspace(1e-3, 40, 300), degree + np.linspace(-1, 1, 21)])
    x = x[x > 0]
    function = lambda y: bessel_over_power(y, degree)
    values = jax.jit(function)(x**2)
    scale = 1 / np.prod(np.arange(1.0, 2 * degree + 2, 2))
    expected = spherical_jn(degree, x) / x**degree
    np.testing.assert_allclose(values, expected, rtol=1e-11, atol=2e-14 * scale)
    compiled_slope = jax.jit(jax.vmap(jax.grad(function)))
    slope = np.asarray(compiled_slope(np.append(x**2, 0.0)))
    derivative = spherical_jn(degree, x, derivative=True) / x**degree
    derivative = (derivative - degree * expected / x) / (2 * x)
    large = x > 0.3
    np.testing.assert_allclose(
        slope[:-1][large], derivative[large], rtol=1e-8, atol=1e-13
    )
    at_zero = -0.5 / np.prod(np.arange(1.0, 2 * degree + 4, 2))
    np.testing.assert_allclose(slope[-1], at_zero)


def plane_wave_error(points, weights, x):
    """Largest error of the mean of cos(x u.d) over 400 directions d."""
    d = np.random.default_rng(0).normal(size=(400, 3))
    d = np.concatenate([d / np.linalg.norm(d, axis=1)[:, None], np.eye(3)])
    return np.max(np.abs(np.cos(x * d @ points.T) @ weights - np.sinc(x / np.pi)))


# Largest x over pi for an error of 1e-5, measured by others on the same rules.
MEASURED = {11: 1.27, 15: 2.2, 17: 2.64, 19: 3.17, 23: 4.14, 29: 5.7, 35: 7.35}
MEASURED |= {41: 9.0, 53: 12.45}


@pytest.mark.parametrize("order", MEASURED)
def test_grids_have_their_accuracy_up_to_max_phase_only(order):
    grid = LebedevGrid(order)
    error = lambda x: plane_wave_error(grid.points, grid.weights, x)
    assert max(error(x) for x in np.linspace(0.1, grid.max_phase, 12)) < grid.accuracy
    assert 0.9 * MEASURED[order] < grid.max_phase / np.pi < MEASURED[order]
    assert error(1.15 * grid.max_phase + 1) > 5 * grid.accuracy
    assert error(2.5 * grid.max_phase) > 0.01


@pytest.mark.parametrize("accuracy", [1e-3, 1e-7, 1e-10])
def test_every_grid_has_its_accuracy_at_max_phase(accuracy):
    for order in (*range(5, 32, 2), 35, 41, 47, 53, 59):
        if order not in (13, 25, 27):
            grid = LebedevGrid(order, accuracy)
            assert np.all(grid.weights > 0) and abs(grid.weights.sum() - 1) < 1e-13
            error = plane_wave_error(grid.points, grid.weights, grid.max_phase)
            assert error < accuracy


def test_lebedev_grid_chooses_the_smallest_sufficient_grid():
    sizes = {x: len(lebedev_grid(x * np.pi)) for x in (1.0, 1.5, 4.0, 12.0)}
    assert sizes == {1.0: 50, 1.5: 86, 4.0: 194, 12.0: 974}
    assert lebedev_grid(np.pi).max_phase >= np.pi
    assert lebedev_grid(np.pi).order == 11
    assert lebedev_grid(np.pi, degree=2).order == 15  # 13 has negative weights
    assert len(lebedev_grid(np.pi, 1e-9)) > 50


def test_half_sphere_has_one_of_each_pair_of_points():
    for order in (5, 11, 23):
        points, weights = LebedevGrid(order).half_sphere()
        both = np.concatenate([points, -points])
        distance = np.linalg.norm(both[:, None] - LebedevGrid(order).points, axis=-1)
        assert np.all(np.sum(distance < 1e-12, axis=0) == 1)
        assert abs(weights.sum() - 1) < 1e-13


@pytest.mark.parametrize("b_max", [1.0, 4.0, 12.0])
def test_error_of_the_quadrature_is_below_its_accuracy(structure, b_max):
    q, k, v, r = structure(9)
    centered = np.asarray(r) - np.mean(np.asarray(r), axis=0)
    extent = 2 * np.max(np.linalg.norm(centered, axis=-1))
    omegas = frequency_grid(3, b_max * np.pi / extent)
    plan = OpenPlan(lebedev_grid(b_max * np.pi), omegas[-1])

    @jax.jit
    def results(*arrays):
        return [
            attend(*arrays, frequencies=omegas, method=method, plan=plan)
            for method in ("exact", "quadrature")
        ]

    exact, quadrature = map(np.asarray, results(q, k, v, r))
    # Every pair and frequency has an error of at most 1e-5.
    query, key, value = map(np.abs, (q, k, v))
    products = np.einsum("mkj,nkj->mn", query.reshape(9, 3, 2), key.reshape(9, 3, 2))
    bound = 1e-5 * products @ value / 6**0.5
    error = np.abs(exact - quadrature)
    assert np.all(error < bound)
    assert np.max(error) > 1e-12


def test_quadrature_beyond_the_grid_is_nan():
    q, k, v = np.ones((3, 2, 4))
    r = np.array([[0.0, 0, 0], [3.0, 6.0, 7.0]])
    omegas = frequency_grid(2, 4 * np.pi / 10)
    grid = lebedev_grid(1.0)
    plan = OpenPlan(grid, omegas[-1])
    phases = r @ grid.points.T * omegas[1]
    error = grid.weights @ np.cos(phases[1]) - np.sinc(4 * np.linalg.norm(r[1]) / 10)
    assert abs(error) > 0.05
    under_trace = jax.jit(
        lambda *arrays: attend(
            *arrays, frequencies=omegas, method="quadrature", plan=plan
        )
    )
    assert np.all(np.isnan(under_trace(q, k, v, r)))


@pytest.mark.parametrize(("sph", "out"), [(1, 0), (1, 2), (4, 1), (9, 2), (4, 2)])
def test_directional_quadrature_is_the_closed_form(structure, close, sph, out):
    q, k, v, r = structure(5, sph=sph)
    omegas = frequency_grid(3, 0.9)
    plan = OpenPlan(lebedev_grid(10.0, 1e-12, degree=out), omegas[-1])

    @jax.jit
    def results(*arrays):
        return [
            attend(*arrays, frequencies=omegas, degree=out, method=method, plan=plan)
            for method in ("exact", "quadrature")
        ]

    exact, quadrature = results(q, k, v, r)
    assert exact.shape == (5, (out + 1) ** 2, 3)
    close(quadrature, exact, 1e-10)


def test_any_frequencies_are_allowed(structure, close):
    q, k, v, r = structure(7)
    grid = lebedev_grid(9.0, 1e-12)
    for omegas in (np.array([0.7, 0.1, 0.33]), np.array([0.0, 0.2, 0.5]), np.zeros(3)):
        plan = OpenPlan(grid, np.max(omegas))
        results = jax.jit(
            lambda *arrays, omegas=omegas, plan=plan: [
                attend(*arrays, frequencies=omegas, method=method, plan=plan)
                for method in ("exact", "quadrature")
            ]
        )
        exact, quadrature = results(q, k, v, r)
        close(quadrature, exact, 1e-10)


def test_at_coincident_positions_attention_is_the_sum_over_all_atoms(structure, close):
    q, k, v, r = structure(5)
    for method in ("exact", "quadrature"):
        total = attend(
            q, k, v, 0 * r, frequencies=frequency_grid(3, 1.0), method=method
        )
        close(total, q @ (k.T @ v) / 6**0.5)
        mean = attend(
            q,
            k,
            v,
            0 * r,
            frequencies=frequency_grid(3, 1.0),
            method=method,
            normalize=True,
        )
        close(mean, q @ (k.T @ v) / 6**0.5 / 5)
