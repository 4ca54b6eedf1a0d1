"""The periodic form: invariances, limits and smoothness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_efa import ShellGrid, attend, frequency_grid
from scipy.integrate import quad
from scipy.special import spherical_jn

OMEGAS, THICKNESS = frequency_grid(3, 1.3), 0.25


def shells(lengths, omega, thickness):
    """w_k at the given lengths, normalized by numerical integration."""
    shape = lambda x: np.exp(-0.5 * ((x - omega) / thickness) ** 2)
    norm = quad(lambda x: 4 * np.pi * x**2 * shape(x), 0, omega + 10 * thickness)[0]
    return shape(lengths) / norm


@jax.jit
def compiled(query, key, value, positions, cell, plan):
    """Attention of degree 0 and of degree 2 for scalar features, unnormalized."""
    scalars = attend(
        query,
        key,
        value,
        positions,
        cell,
        frequencies=OMEGAS,
        shell_thickness=THICKNESS,
        plan=plan,
    )
    directions = attend(
        query[:, None],
        key[:, None],
        value[:, None],
        positions,
        cell,
        frequencies=OMEGAS,
        degree=2,
        shell_thickness=THICKNESS,
        plan=plan,
    )
    return scalars, directions


def plan_of(cell, positions, **options):
    shells = {"frequencies": OMEGAS, "shell_thickness": THICKNESS}
    return ShellGrid.for_structures(cell, positions, **(shells | options))


def evaluate(query, key, value, positions, cell, plan=None):
    plan = plan_of(cell, positions) if plan is None else plan
    return compiled(query, key, value, positions, cell, plan)


def compiled_with_plan(*arrays, omegas, **options):
    """Calls the kernel under jit, with a plan made for the cell."""
    shells = {"frequencies": omegas, "shell_thickness": options["shell_thickness"]}
    plan = ShellGrid.for_structures(arrays[4], arrays[3], **shells)
    kernel = lambda plan, *a: attend(*a, frequencies=omegas, plan=plan, **options)
    return jax.jit(kernel)(plan, *arrays)


@pytest.fixture
def same(close):
    def check(result, expected, rtol=1e-11):
        for left, right in zip(result, expected, strict=True):
            close(left, right, rtol)

    return check


def test_attention_equals_the_direct_sum_over_vectors(structure, triclinic, close):
    q, k, v, r = (np.asarray(x) for x in structure())
    dual = 2 * np.pi * np.linalg.inv(triclinic).T
    ranges = [np.arange(-6, 7)] * 3
    waves = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3) @ dual
    lengths = np.linalg.norm(waves, axis=1)
    phases = np.einsum("mnx,px->mnp", r[:, None] - r, waves)
    expected = 0
    for pair, omega in enumerate(OMEGAS):
        w = shells(lengths, omega, THICKNESS)
        a, b = (x[:, 2 * pair : 2 * pair + 2] for x in (q, k))
        even, odd = a @ b.T, a @ np.array([[0.0, 1], [-1, 0]]) @ b.T
        sums = even * (np.cos(phases) @ w) + odd * (np.sin(phases) @ w)
        expected = expected + sums @ v
    expected *= (2 * np.pi) ** 3 / abs(np.linalg.det(triclinic)) / 6**0.5
    result = evaluate(q, k, v, r, triclinic)
    # The window cuts off less than 4e-6 of the height of a shell.
    close(result[0], expected, 3e-6)
    close(result[1][:, 0], expected, 3e-6)


def test_attention_is_invariant_under_wrapping_and_rigid_motions(
    structure, triclinic, axes, same
):
    *features, r = structure()
    expected = evaluate(*features, r, triclinic)
    shifts = np.random.default_rng(4).integers(-3, 4, (6, 3)).astype(float)
    moved = r + shifts @ triclinic + jnp.array([0.3, -20.0, 1.1])
    same(evaluate(*features, moved, triclinic), expected)
    matrix = axes(True)
    plan = plan_of(triclinic, r)
    assert plan.covers(triclinic @ matrix, r)
    scalars, directions = evaluate(*features, r @ matrix, triclinic @ matrix, plan)
    same([scalars], expected[:1])
    scale = lambda x: jnp.linalg.norm(x[:, 4:], axis=1)
    same([scale(directions)], [scale(expected[1])])
    same([directions[:, 1:4]], [jnp.einsum("xy,nxv->nyv", matrix, expected[1][:, 1:4])])


def test_attention_is_independent_of_the_unit_cell(structure, triclinic, same):
    arrays = structure()
    expected = evaluate(*arrays, triclinic)
    unimodular = jnp.array([[1.0, 1, 0], [0, 1, 0], [-1, 0, 1]])
    for cell in (unimodular @ triclinic, triclinic[::-1], -triclinic):
        same(evaluate(*arrays, cell), expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_supercells(structure, triclinic, close, normalize):
    q, k, v, r = structure()
    options = {"omegas": OMEGAS, "shell_thickness": THICKNESS, "normalize": normalize}
    call = lambda *arrays: compiled_with_plan(*arrays, **options)
    twice = triclinic * jnp.array([[2.0], [1.0], [1.0]])
    images = jnp.concatenate([r, r + triclinic[0]])
    result = call(*(jnp.tile(x, (2, 1)) for x in (q, k, v)), images, twice)
    close(result, jnp.tile(call(q, k, v, r, triclinic), (2, 1)), 1e-11)


def test_padding_has_no_effect(structure, triclinic, close):
    arrays = structure()
    call = jax.jit(
        lambda mask, *arrays: attend(
            *arrays,
            triclinic,
            frequencies=OMEGAS,
            shell_thickness=THICKNESS,
            mask=mask,
            normalize=True,
        )
    )
    mask = np.arange(106) < 6
    pad = lambda x, fill: np.concatenate([x, np.full((100, x.shape[1]), fill)])
    results = [
        np.asarray(call(mask, *(pad(x, fill) for x in arrays)))
        for fill in (0.0, 1e5, np.nan)
    ]
    assert all(np.array_equal(x, results[0]) for x in results)
    assert np.all(results[0][6:] == 0)
    close(results[0][:6], call(jnp.ones(6, bool), *arrays), 1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_large_cells_give_the_kernel_of_the_shells(structure, degree):
    # Two atoms in a large cell; the kernel by numerical integration.
    r, omegas, thickness = 2.3, np.array([1.1]), 0.4
    positions = jnp.array([[0.0, 0, 0], [r, 0, 0]])
    q, k = jnp.array([[[1.0, 0.5]]] * 2), jnp.array([[[0.3, -0.7]]] * 2)
    v = jnp.array([[[0.0]], [[1.0]]])
    weight = lambda x: shells(x, omegas[0], thickness) * 4 * np.pi * x**2
    integrand = lambda x: weight(x) * spherical_jn(degree, x * r)
    kernel = quad(integrand, 0, 4, limit=200)[0]
    product = [0.3 - 0.35, -0.7 - 0.15][degree % 2]
    # The second atom is displaced along x: d = -x for the first atom.
    component, harmonic = [(0, 1.0), (1, -(3**0.5)), (8, -(15**0.5) / 2)][degree]
    expected = (-1) ** (degree // 2) * product * harmonic * kernel / 2**0.5
    errors = []
    for length in (8.0, 14.0, 30.0):
        arrays = q, k, v, positions, length * jnp.eye(3)
        options = {"omegas": omegas, "degree": degree, "shell_thickness": thickness}
        result = compiled_with_plan(*arrays, **options)
        errors.append(abs(result[0, component, 0] - expected))
    # Shells have a jump at K = 0 for degrees above zero.
    assert errors[2] < [1e-6, 1e-4, 1e-4][degree] < errors[0]


def test_narrow_shells_in_a_large_cell_give_the_open_form(structure):
    q, k, v, r = structure(3, qk=4, v=2, sph=1)
    omegas, box = np.array([0.4, 0.7]), 110.0 * jnp.eye(3)
    open_form = lambda *a: attend(*a, frequencies=omegas, degree=2, method="exact")
    expected = jax.jit(open_form)(q, k, v, r)
    errors = []
    for thickness in (0.08, 0.04):
        options = {"omegas": omegas, "degree": 2, "shell_thickness": thickness}
        result = compiled_with_plan(q, k, v, r, box, **options)
        errors.append(jnp.max(jnp.abs(result - expected)))
    scale = jnp.max(jnp.abs(expected))
    # The kernel differs from the sinc by order (s r)^2.
    assert errors[0] < 0.15 * scale and errors[1] < 0.3 * errors[0]


def test_the_weight_of_zero_wave_vector_is_that_of_the_integral():
    omegas, cell = np.array([0.0]), jnp.diag(jnp.array([4.0, 5.0, 6.0]))
    q = jnp.array([[1.0, 0.0]])
    thickness = 0.05
    call = jax.jit(
        lambda q, normalize: attend(
            q,
            q,
            jnp.ones((1, 1)),
            jnp.zeros((1, 3)),
            cell,
            frequencies=omegas,
            shell_thickness=thickness,
            normalize=normalize,
        ),
        static_argnums=1,
    )
    # The only vector within the shell has the weight (2 pi)^3 / V times that of a
    # Gaussian.
    weight = (2 * np.pi) ** 1.5 / (120 * thickness**3)
    np.testing.assert_allclose(call(q, False), weight / 2**0.5, rtol=1e-12)
    normalized = weight / 2**0.5 / (1 + weight)
    np.testing.assert_allclose(call(q, True), normalized, rtol=1e-12)


def vectors_within(cell, plan):
    """Number of vectors within the cutoff of the shells in this cell."""
    dual = 2 * np.pi * np.linalg.inv(cell).T
    lengths = np.linalg.norm(np.asarray(plan.indices) @ dual, axis=1)
    return np.sum(lengths < OMEGAS[-1] + 6 * THICKNESS)


@pytest.mark.parametrize("strain", ["expansion", "shear"])
def test_attention_is_a_smooth_function_of_the_cell(structure, strain):
    q, k, v, r = structure(8)
    change = {"expansion": np.eye(3), "shear": np.eye(3, k=1)}[strain]
    steps = 0.002 * np.arange(121.0)
    start = 9.15 * np.eye(3)
    plan = plan_of(start, r, margin=0.1)

    def energy(step, r):
        cell = start + step * change
        attended = attend(
            q,
            k,
            v,
            r @ cell / 9,
            cell,
            frequencies=OMEGAS,
            shell_thickness=THICKNESS,
            plan=plan,
        )
        return jnp.sum(attended**2)

    along = jax.jit(jax.vmap(jax.value_and_grad(energy), (0, None)))
    values, slopes = map(np.asarray, along(steps, r))
    rule = 0.001 * (slopes[1:] + slopes[:-1])
    error = np.abs(values[1:] - values[:-1] - rule)
    assert np.max(error / np.abs(values[1:])) < 1e-6

    assert vectors_within(start, plan) != vectors_within(start + 0.24 * change, plan)
    forces = jax.jit(jax.vmap(jax.grad(energy, argnums=1), (0, None)))(steps, r)
    forces = np.asarray(forces)
    fourth = np.diff(forces, n=4, axis=0)
    assert np.max(np.abs(fourth)) < 1e-6 * np.sqrt(np.mean(forces**2))


def test_stress_is_symmetric(structure, triclinic):
    q, k, v, r = structure()
    plan = plan_of(triclinic, r, margin=0.01)

    @jax.jit
    def total(strain):
        deform = jnp.eye(3) + strain
        attended = attend(
            q,
            k,
            v,
            r @ deform,
            triclinic @ deform,
            frequencies=OMEGAS,
            shell_thickness=THICKNESS,
            plan=plan,
        )
        return jnp.sum(attended**2)

    result = jax.jit(jax.grad(total))(jnp.zeros((3, 3)))
    np.testing.assert_allclose(result, result.T, atol=1e-11 * jnp.max(jnp.abs(result)))


def test_plans_cover_cells_within_their_margin(structure, triclinic, same):
    arrays = structure()
    r = arrays[3]
    wide, plain = plan_of(triclinic, r, margin=0.1), plan_of(triclinic, r)
    assert wide.covers(1.09 * triclinic, r) and not wide.covers(1.12 * triclinic, r)
    assert plain.covers(triclinic, r) and not plain.covers(1.01 * triclinic, r)
    same(evaluate(*arrays, triclinic, wide), evaluate(*arrays, triclinic, plain))
    stretched = 1.09 * triclinic
    expected = evaluate(*arrays, stretched)
    same(evaluate(*arrays, stretched, wide), expected)
    uncovered = evaluate(*arrays, 1.12 * triclinic, wide)
    assert all(np.all(np.isnan(x)) for x in uncovered)
