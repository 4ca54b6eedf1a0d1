"""The mesh compared with the sum over vectors, and large systems in blocks."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from lr_les import (
    ChargeSystem,
    GaussianSum,
    InverseSixth,
    KGrid,
    Mesh,
    Multipoles,
    _direct,
    _open,
    _spreading,
    energy,
    lattice_plan,
)
from lr_les._splines import spline_weights

CELL = np.array([[9.0, 0.2, 0], [1.3, 8.5, 0], [-2.0, 2.5, 10.0]])


@pytest.fixture
def forty_atoms():
    """Forty atoms with two channels of all moments in a triclinic cell."""
    rng = np.random.default_rng(7)
    q, u, second = (rng.normal(size=(40, 2, *s)) for s in ((), (3,), (3, 3)))
    r = rng.uniform(-1, 2, (40, 3)) @ CELL
    return tuple(map(jnp.asarray, (q, r, u, second)))


@ft.partial(jax.jit, static_argnames="degree")
@ft.partial(jax.value_and_grad, argnums=(1, 2), has_aux=True)
def derivatives(q, r, cell, u, second, plan, kernel, degree):
    moments = Multipoles(q, *(u, second)[:degree])
    energies = energy(moments, r, cell, plan=plan, kernel=kernel)
    single_atom = energy(q[:1], r[:1], kernel=kernel, remove_self=False)
    return jnp.sum(energies), (energies, jnp.abs(single_atom[0]))


@jax.jit
def total_with_self(q, r, cell, plan, kernel):
    return jnp.sum(energy(q, r, cell, plan=plan, kernel=kernel, remove_self=False))


def compare(forty_atoms, tolerance, degree=0, kernel=None):
    """Relative errors of energy, forces and stress on the mesh."""
    q, r, u, second = forty_atoms
    power = 2 * degree + (0 if kernel is None else kernel.power)
    cell, results = jnp.asarray(CELL), []
    for plan in (
        KGrid.for_structures(CELL, r, tolerance=1e-10, power=power),
        Mesh.for_structures(CELL, r, tolerance=tolerance, power=power),
    ):
        (value, _), slopes = derivatives(q, r, cell, u, second, plan, kernel, degree)
        results.append([np.asarray(x) for x in (value, *slopes)])
    scale = float(
        total_with_self(q, r, cell, KGrid.for_structures(CELL, r, power=6), kernel)
    )
    (value, forces, strain), (value_2, forces_2, strain_2) = results
    return (
        abs(value_2 - value) / abs(scale),
        np.sqrt(np.mean((forces_2 - forces) ** 2) / np.mean(forces**2)),
        np.max(np.abs(strain_2 - strain)) / np.max(np.abs(strain)),
    )


@pytest.mark.parametrize("tolerance", [1e-5, 1e-8])
def test_mesh_keeps_its_tolerance(forty_atoms, tolerance):
    of_energy, of_forces, of_stress = compare(forty_atoms, tolerance)
    assert of_energy < tolerance
    assert of_forces < 10 * tolerance and of_stress < 10 * tolerance


@pytest.mark.parametrize("degree", [1, 2])
def test_mesh_keeps_its_tolerance_with_moments(forty_atoms, degree):
    of_energy, of_forces, of_stress = compare(forty_atoms, 1e-5, degree)
    assert of_energy < 1e-5 and of_forces < 1e-4 and of_stress < 1e-4


@pytest.mark.parametrize(
    "kernel", [InverseSixth(), GaussianSum(np.array([0.7, -0.4]), np.array([1.1, 2.0]))]
)
def test_mesh_keeps_its_tolerance_with_other_kernels(forty_atoms, kernel):
    of_energy, of_forces, of_stress = compare(forty_atoms, 1e-5, 0, kernel)
    assert of_energy < 1e-5 and of_forces < 1e-4 and of_stress < 1e-4


def test_splines_sum_to_one_and_reproduce_linear_functions():
    x = np.random.default_rng(0).uniform(0, 1, (4, 3))

    @ft.partial(jax.jit, static_argnums=1)
    def weights_and_slope(x, order):
        first = lambda x: spline_weights(x, order, 1)[1]
        return spline_weights(x, order, 2), jax.jvp(first, (x,), (x * 0 + 1,))[1]

    for order in (6, 8):
        weights, slope = weights_and_slope(x, order)
        values, first, second = map(np.asarray, weights)
        nodes = np.arange(order) - order / 2 + 1
        np.testing.assert_allclose(np.sum(values, -1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(np.sum(values * nodes, -1), x, atol=1e-12)
        np.testing.assert_allclose(np.sum(first * nodes, -1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(slope, second, atol=1e-12)


def test_mesh_derivatives_to_second_order(structure):
    q, r = structure(4)
    r = r.at[1].set(r[0])
    plan = Mesh.for_structures(4 * np.eye(3), r, margin=0.1)

    @jax.jit
    def value(q, r, strain):
        deform = jnp.eye(3) + strain
        return jnp.sum(energy(q, r @ deform, 4 * deform, plan=plan) ** 2)

    arguments = q, r, jnp.full((3, 3), 0.01)
    check_grads(value, arguments, 2, ["rev"], atol=1e-3, rtol=1e-3)


def test_mesh_under_vmap_with_padding(structure):
    cells = jnp.stack([6.5 * jnp.eye(3), jnp.diag(jnp.array([4.0, 5, 7])), jnp.eye(3)])
    mask = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    parts = [structure(seed=s) for s in range(3)]
    q, r = (jnp.stack(x) for x in zip(*parts, strict=True))
    r = r.at[1, 4:].set(1e6)

    def batch(kind, q, r):
        plan = kind.for_structures(cells, r, mask, tolerance=1e-6)
        return jax.vmap(lambda q, r, c, m, g: energy(q, r, c, mask=m, plan=g))(
            q, r, cells, mask, plan
        )

    on_mesh = jax.jit(ft.partial(batch, Mesh))(q, r)
    np.testing.assert_allclose(
        on_mesh, jax.jit(ft.partial(batch, KGrid))(q, r), atol=2e-5
    )
    assert not jnp.any(on_mesh[~mask])
    slopes = jax.jit(jax.grad(lambda q, r: jnp.sum(batch(Mesh, q, r) ** 2), (0, 1)))(
        q, r
    )
    assert all(jnp.all(jnp.isfinite(s)) and not jnp.any(s[~mask]) for s in slopes)


def test_mesh_does_not_cover_larger_cells(structure):
    q, r = structure()
    plan = Mesh.for_structures(CELL, r, margin=0.01)
    assert plan.covers(CELL, r) and not plan.covers(1.02 * CELL, r)
    energies = jax.jit(lambda cell: energy(q, r, cell, plan=plan))
    assert jnp.all(jnp.isnan(energies(jnp.asarray(1.02 * CELL))))
    assert jnp.all(jnp.isfinite(energies(jnp.asarray(0.9 * CELL))))
    with pytest.raises(ValueError, match="plan was made for cells of shape"):
        plan.covers(CELL[None], r[None])


def test_lattice_plan_depends_on_the_number_of_atoms():
    few, many = np.zeros((40, 3)), np.zeros((40_000, 3))
    assert isinstance(lattice_plan(CELL, few), KGrid)
    assert isinstance(lattice_plan(CELL, many), Mesh)
    assert isinstance(lattice_plan(CELL, many, tolerance=1e-9), KGrid)
    both = lattice_plan(np.stack([CELL, 2 * CELL]), np.stack([many, many]))
    assert isinstance(both, Mesh) and both.cell.shape == (2, 3, 3)
    # Open boundaries need no plan.
    assert lattice_plan(None, many) is None and Mesh.for_structures(None, many) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "`sigma` is a width and must be positive, got 0.0"),
        ({"tolerance": 1e-9}, "`tolerance` of a mesh .* got 1e-09; use a `KGrid`"),
        (
            {"sigma": 0.001},
            "needs a mesh of [0-9]+ x [0-9]+ x [0-9]+ points, more than",
        ),
    ],
)
def test_bad_settings_of_a_mesh_raise_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Mesh.for_structures(CELL, np.zeros((4, 3)), **options)


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Computes every sum in many blocks, as for systems too large for memory."""
    monkeypatch.setattr(_direct, "_WAVE_BYTES", 1)
    monkeypatch.setattr(_open, "_PAIR_BYTES", 1)
    monkeypatch.setattr(_spreading, "_SPLINE_BYTES", 1)


@pytest.mark.parametrize("boundary", ["open", "vectors", "mesh"])
def test_results_are_independent_of_the_block_size(forty_atoms, boundary, request):
    q, r, u, _ = forty_atoms
    moments = Multipoles(q, u)
    cell = None if boundary == "open" else jnp.asarray(CELL)
    plan = {
        "open": lambda: None,
        "vectors": lambda: KGrid.for_structures(CELL, r, tolerance=1e-3, power=2),
        "mesh": lambda: Mesh.for_structures(CELL, r, power=2),
    }[boundary]()

    def results():
        def total(r):
            return jnp.sum(energy(moments, r, cell, plan=plan) ** 2)

        @jax.jit
        def energy_curvature_and_field(r):
            slope = lambda r: jax.jvp(total, (r,), (jnp.cos(r),))[1]
            system = ChargeSystem(moments, r, cell, plan=plan)
            field = system.potential_and_field()[1]
            return total(r), jax.grad(slope)(r), field

        return energy_curvature_and_field(r)

    unblocked = results()
    request.getfixturevalue("tiny_blocks")
    for expected, blocked in zip(unblocked, results(), strict=True):
        atol = 1e-9 * np.max(np.abs(expected))
        np.testing.assert_allclose(blocked, expected, rtol=1e-9, atol=atol)


def test_energy_of_a_thousand_atoms_in_both_precisions():
    """Grid and mesh agree to a relative 1e-5 in float64 and in float32."""
    rng = np.random.default_rng(4)
    cell = 21.5 * np.array([[1.0, 0.1, 0], [0, 0.95, 0.05], [-0.1, 0, 1.05]])
    q, r = rng.normal(size=1000), rng.uniform(0, 1, (1000, 3)) @ cell
    q = q - q.mean()

    def total(dtype, make):
        arrays = [jnp.asarray(x, dtype) for x in (q, r, cell)]
        summed = jax.jit(lambda q, r, c, g: jnp.sum(energy(q, r, c, plan=g)))
        value = summed(*arrays, make(cell, r))
        assert value.dtype == dtype
        return float(value)

    vectors, mesh = KGrid.for_structures, Mesh.for_structures
    exact = total(jnp.float64, vectors)
    for dtype, make in (
        (jnp.float64, mesh),
        (jnp.float32, mesh),
        (jnp.float32, vectors),
    ):
        assert abs(total(dtype, make) / exact - 1) < 1e-5


@pytest.mark.parametrize("method", ["vectors", "mesh", "open"])
def test_memory_for_twenty_thousand_atoms_is_bounded(method):
    """Compiled energy and forces in float32; all waves together would need 17 GB."""
    length = 58.5
    cell = length * np.eye(3)
    plan = None
    if method != "open":
        kind = {"vectors": KGrid, "mesh": Mesh}[method]
        plan = kind.for_structures(cell, np.zeros((20_000, 3)))

    def total(q, r, cell):
        return jnp.sum(energy(q, r, None if plan is None else cell, plan=plan))

    shapes = [
        jax.ShapeDtypeStruct(s, jnp.float32) for s in ((20_000,), (20_000, 3), (3, 3))
    ]
    compiled = jax.jit(jax.value_and_grad(total, 1)).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 1.5e9
