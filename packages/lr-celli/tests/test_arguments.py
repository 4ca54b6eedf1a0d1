"""Error messages of layers and kernels for invalid arguments, outside a trace."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from lr_celli import (
    ChargeEquilibration,
    Ewald,
    ParticleMesh,
    PolarizableChargeEquilibration,
    coulomb_matrix,
    coulomb_operator,
)

CELL = np.diag([7.0, 8.0, 9.0])
POSITIONS = np.random.default_rng(0).uniform(0, 7, (4, 3))
OPTIONS = {"hidden": (), "width_bounds": (0.1, 1.0), "tolerance": 1e-3}


@contextlib.contextmanager
def untyped():
    """Disables type checks, as for users, to reach the package's checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@contextlib.contextmanager
def raises(message):
    with untyped(), pytest.raises(ValueError, match=message):
        yield


def make_layer(solver="dense", **options):
    return ChargeEquilibration(2, solver=solver, key=jr.key(0), **(OPTIONS | options))


def make_polarizable():
    return PolarizableChargeEquilibration(make_layer())


def call(layer, **changes):
    graph = {
        "features": np.ones((4, 2)),
        "positions": POSITIONS,
        "cell": CELL,
        "mask": np.ones(4, bool),
        "species": np.full(4, 6),
        "total_charge": np.zeros(()),
    }
    graph = {name: jnp.asarray(x) for name, x in graph.items()}
    return layer(**(graph | changes))


def batch_plan(layer):
    return layer.plan_for(CELL[None], POSITIONS[None], np.ones((1, 4), bool))


@pytest.mark.parametrize("make", [make_layer, make_polarizable])
def test_shapes_that_do_not_fit_the_layer(make):
    layer = make()
    ones = lambda *shape: jnp.asarray(np.ones(shape))
    with raises(r"`features` of 4 atoms for a layer of 2 channels has .*got \[4, 3\]"):
        call(layer, features=ones(4, 3))
    with raises(r"`mask` is true on real atoms, boolean of shape \[4\], got None"):
        call(layer, mask=None)
    with raises(r"`mask` is true on .*, got float(32|64) of shape \[4\]"):
        call(layer, mask=ones(4))
    with raises(r"`species` of 4 atoms .* shape \[4\], got \[3\]"):
        call(layer, species=jnp.asarray(np.full(3, 6)))
    with raises(r"`positions` has shape \[atoms, 3\], got \[1, 4, 3\].*jax.vmap"):
        call(layer, positions=jnp.asarray(POSITIONS[None]))
    with raises(r"without batch axis, got cells of shape \[3, 3\] and .*\[1, 3, 3\]"):
        call(layer, plan=batch_plan(make_layer()))
    polarizable = make is make_polarizable
    with raises("got a ParticleMesh" if polarizable else r"shape \[1, 4, "):
        call(layer, plan=batch_plan(make_layer("iterative")))
    with raises("is an `Ewald`.*got a (dict|tuple)"):
        call(layer, plan=() if polarizable else {})


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_plans_that_lack_an_axis(solver):
    layer = make_layer(solver)
    plan = layer.plan(CELL, POSITIONS)
    positions, cells = (np.stack([x] * 3) for x in (POSITIONS, CELL))
    energies = lambda r, c, plan: call(layer, positions=r, cell=c, plan=plan)[1]
    repeat = lambda x: np.stack([x[0] if x.ndim else x] * 3)
    wrong = jax.tree.map(lambda x: jnp.asarray(repeat(np.asarray(x))), plan)
    with raises(r"a plan for cells of shape \[3\]|has neighbors of shape \[1?[0-9]\]"):
        jax.vmap(energies)(positions, cells, wrong)


def test_plan_takes_one_structure_and_plan_for_a_batch():
    for layer in (make_layer(), make_layer("iterative"), make_polarizable()):
        plan = layer.plan_for(CELL[None], POSITIONS[None])
        assert plan.covers(CELL[None], POSITIONS[None]).all()
        for batch, single in ((CELL[None], CELL), (None, None)):
            with raises(r"`plan` takes one .*got \[1, 4, 3\]: use `plan_for`"):
                layer.plan(batch, POSITIONS[None])
            with raises(r"`plan_for` takes a batch.*got \[4, 3\]: use `plan`"):
                layer.plan_for(single, POSITIONS)


def test_positions_that_are_not_finite_are_named():
    broken = np.where(np.arange(4)[:, None] == 2, np.nan, POSITIONS)
    message = r"`positions` of a real atom are not finite.*for atom 2: correct"
    for solver in ("dense", "iterative"):
        layer = make_layer(solver)
        plan = layer.plan(CELL, POSITIONS)
        with raises(message):
            call(layer, positions=jnp.asarray(broken), plan=plan)
    with raises(message):
        layer.plan(CELL, broken)


def test_a_plan_of_another_structure_raises_outside_a_trace():
    for solver in ("dense", "iterative"):
        layer = make_layer(solver)
        plan = layer.plan(CELL, POSITIONS)
        with raises("make (one|a new plan).*`layer.plan"):
            call(layer, cell=jnp.asarray(1.05 * CELL), plan=plan)
        with raises("needs a `cell`"):
            call(layer, cell=None, plan=plan)
    displaced = POSITIONS.copy()
    displaced[2, 1] += 0.3
    displaced = jnp.asarray(displaced)
    with raises("an atom moved by more than half of its skin of 0.5 Å"):
        call(layer, positions=displaced, plan=plan)
    # A graph of padding is always covered. The arguments are not traced.
    cell, padding = jnp.asarray(CELL), jnp.zeros(4, bool)
    call_operator = lambda: coulomb_operator(
        jnp.ones(4), displaced, cell, plan=plan, mask=padding
    )
    jax.jit(call_operator)()


def test_widths_that_a_plan_does_not_cover():
    widths = jnp.array([0.3, 0.3, 1.2, 0.3])
    plan = Ewald.for_structures(
        CELL, POSITIONS, width_bounds=(0.2, 1.0), tolerance=1e-3
    )
    with raises("The plan covers widths from 0.2 to 1 Å, got 1.2 Å.*`width_bounds`"):
        coulomb_matrix(widths, jnp.asarray(POSITIONS), CELL, plan=plan)
    mesh = ParticleMesh.for_structures(CELL, POSITIONS, width_max=1.0, tolerance=1e-3)
    with raises("covers widths from 0 to 1 Å, got 1.2 Å.*`width_max`"):
        coulomb_operator(widths, jnp.asarray(POSITIONS), jnp.asarray(CELL), plan=mesh)


def test_an_operator_derives_its_plan_from_arguments_that_are_not_traced():
    widths, positions = jnp.array([0.3, 0.5, 0.9, 0.3]), jnp.asarray(POSITIONS)
    mask, charges = jnp.array([True, True, False, True]), jnp.arange(4.0)
    plan = ParticleMesh.for_structures(CELL, POSITIONS, np.asarray(mask), width_max=0.5)
    operators = [
        coulomb_operator(widths, positions, CELL, plan=p, mask=mask)
        for p in (plan, None)
    ]
    expected, actual = (np.asarray(operator(charges)) for operator in operators)
    np.testing.assert_array_equal(actual, expected)
    message = "traced, so neighbors and the largest width are unknown: make a plan"
    with raises(message):
        jax.jit(lambda w: coulomb_operator(w, positions, CELL))(widths)
    with raises(message):
        jax.jit(lambda r: coulomb_operator(widths, r, CELL))(positions)
    with raises("There is no Coulomb operator with open boundaries: give a `cell`"):
        coulomb_operator(widths, positions)
    with raises("is a `ParticleMesh`, got a tuple"):
        coulomb_operator(widths, positions, CELL, plan=())


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_the_plan_of_one_structure_is_that_of_a_batch_of_one(solver):
    layer, mask = make_layer(solver), np.arange(4) < 3
    batch = layer.plan_for(CELL[None], POSITIONS[None], mask[None], margin=0.05)
    single = layer.plan(CELL, POSITIONS, mask, margin=0.05)
    assert jax.tree.structure(single) == jax.tree.structure(batch)
    pairs = zip(jax.tree.leaves(single), jax.tree.leaves(batch), strict=True)
    assert all(np.array_equal(a, b[0], equal_nan=True) for a, b in pairs)
    assert layer.plan(None, POSITIONS) is None
    # The cell of a graph without atoms is not used.
    cells, positions = np.stack([CELL, 0 * CELL]), np.stack([POSITIONS] * 2)
    masks = np.stack([mask, 0 * mask]).astype(bool)
    plan = layer.plan_for(cells, positions, masks)
    assert plan.covers(cells, positions, masks).tolist() == [True, True]


@pytest.mark.parametrize("number", [np.float64, np.float32, jnp.asarray])
def test_numpy_and_jax_scalars_become_floats(number):
    """Static settings are Python floats, and there are no warnings."""
    bounds = tuple(map(number, (0.25, 1.0)))
    with untyped(), warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = make_layer(
            width_bounds=bounds, tolerance=number(0.0625), scale=number(4.0)
        )
        numbers = {"tolerance": number(0.0625), "margin": number(0.5)}
        ewald = Ewald.for_structures(
            CELL, POSITIONS, width_bounds=bounds, smearing=number(1.5), **numbers
        )
        mesh = ParticleMesh.for_structures(
            CELL, POSITIONS, width_max=number(1.0), skin=number(0.25), **numbers
        )
    static = [layer.width_bounds, layer.tolerance, layer.scale, ewald.width_bounds]
    static += [ewald.tolerance, ewald.stretch, mesh.width_max, mesh.skin, mesh.stretch]
    assert all(type(x) is float for x in jax.tree.leaves((static, mesh.smearing)))
    expected = make_layer(width_bounds=(0.25, 1.0), tolerance=0.0625, scale=4.0)
    assert jax.tree.structure(layer) == jax.tree.structure(expected)


@pytest.mark.parametrize("make", [make_layer, make_polarizable])
def test_check_elements_raises_for_elements_without_a_radius(make):
    make().check_elements(np.array([1, 6, 96]))
    with pytest.raises(ValueError, match="Element 98 has no published covalent radius"):
        make().check_elements(np.array([1, 98, 6]))
