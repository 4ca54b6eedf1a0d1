"""Bad arguments raise errors that name the argument and the remedy."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from lr_efa import (
    EuclideanFastAttention,
    LebedevGrid,
    OpenPlan,
    ShellGrid,
    attend,
    frequency_grid,
    lebedev_grid,
)
from lr_efa._arguments import check_arguments, check_choice

OMEGAS = frequency_grid(2, 1.0)
SCALARS = jnp.ones((3, 4))
POSITIONS = np.array([[0.0, 0, 0], [1.0, 2, 2], [0.0, 6, 8]])
CELL = 7 * np.eye(3)


PERIODIC = {"cell": jnp.asarray(CELL), "shell_thickness": 0.3}
SHELLS = {"frequencies": OMEGAS, "shell_thickness": 0.3}


@pytest.fixture
def call():
    """Calls the kernel with changed arguments."""

    def make(**changed):
        r = jnp.asarray(POSITIONS)
        arguments = {"query": SCALARS, "key": SCALARS, "value": SCALARS}
        arguments |= {"positions": r, "frequencies": OMEGAS}
        return attend(**(arguments | changed))

    return make


@pytest.fixture
def raises_value_error():
    return lambda message: pytest.raises(ValueError, match=message)


def test_bad_features_raise_errors(call, raises_value_error):
    odd = jnp.ones((3, 5))
    with raises_value_error("pairs of channels, so D_qk is even, got 5"):
        call(query=odd, key=odd)
    with raises_value_error(
        r"`frequencies` has one frequency for each of the 2 pairs.*\[3\]"
    ):
        call(frequencies=frequency_grid(3, 1.0))
    components = {name: jnp.ones((3, 3, 4)) for name in ("query", "key", "value")}
    with raises_value_error(r"have \(L \+ 1\)\*\*2 components in e3nn order.*got 3"):
        call(degree=1, **components)
    components = {name: jnp.ones((3, 4, 4)) for name in ("query", "key", "value")}
    with raises_value_error(
        r"`coupling` has one weight for each of the 4 paths.*\[3\]"
    ):
        call(degree=1, coupling=np.ones(3), **components)


def test_bad_plans_of_the_open_form_raise_errors(call, raises_value_error):
    plan_of = lambda phase: OpenPlan(lebedev_grid(phase), 1.0)
    assert call(plan=plan_of(11.5), method="quadrature").shape == (3, 4)
    with raises_value_error(
        "frequencies` up to 1 1/Å in a structure of extent .* beyond the grid"
    ):
        call(plan=plan_of(5.0), method="quadrature")
    with raises_value_error("integrates harmonics up to degree 0, needed is 1"):
        call(degree=1, method="quadrature", plan=plan_of(10.0))
    with raises_value_error("traced, so the grid they need is unknown: make a plan"):
        jax.jit(lambda r: call(positions=r, method="quadrature"))(
            jnp.asarray(POSITIONS)
        )
    with raises_value_error("traced, so the quadrature grid they need is unknown"):
        jax.jit(lambda r: OpenPlan.for_structures(None, r, frequencies=OMEGAS).grid)(
            jnp.asarray(POSITIONS)
        )
    with raises_value_error("is for `cells=None`: make the plan of crystals with"):
        OpenPlan.for_structures(CELL, POSITIONS, frequencies=OMEGAS)
    with raises_value_error("`positions` of a real atom are not finite"):
        OpenPlan.for_structures(None, POSITIONS * np.nan, frequencies=OMEGAS)
    with raises_value_error("`margin` must not be negative, got -0.5"):
        OpenPlan.for_structures(None, POSITIONS, frequencies=OMEGAS, margin=-0.5)


def test_checks_that_the_type_checker_of_the_tests_preempts(raises_value_error):
    r = jnp.asarray(POSITIONS)
    with raises_value_error(
        r"`query` and `key` have the same shape, got \[3, 4\] and \[3, 6\]"
    ):
        check_arguments(SCALARS, jnp.ones((3, 6)), SCALARS, r, OMEGAS, None)
    with raises_value_error(
        r"`value` has one row for each of the 3 atoms.*got \[2, 4\]"
    ):
        check_arguments(SCALARS, SCALARS, jnp.ones((2, 4)), r, OMEGAS, None)
    with raises_value_error(
        r"`positions` has shape \[atoms, 3\], got \[1, 3, 3\].*jax.vmap"
    ):
        check_arguments(SCALARS, SCALARS, SCALARS, r[None], OMEGAS, None)
    with raises_value_error("`boundary` is one of .*, got 'open'"):
        check_choice("boundary", "open", ("cell", "ignore"))


@pytest.mark.parametrize("order", [13, 25, 27])
def test_rules_with_negative_weights_raise_errors(raises_value_error, order):
    with raises_value_error(f"order {order} has negative weights"):
        LebedevGrid(order)


def test_bad_settings_of_lebedev_grids_raise_errors(raises_value_error):
    with raises_value_error("There is no Lebedev rule of order 12"):
        LebedevGrid(12)
    with raises_value_error("No Lebedev grid integrates phases up to 1000.0 to 1e-05"):
        lebedev_grid(1000.0)
    with raises_value_error("`max_phase` must not be negative, got -1.0"):
        lebedev_grid(-1.0)
    with raises_value_error("`accuracy` is an error between 0 and 0.1"):
        lebedev_grid(1.0, 0.5)
    with raises_value_error("`omega_max` is not negative, got 2 and -1.0"):
        frequency_grid(2, -1.0)


def test_bad_cells_and_shell_grids_raise_errors(call, raises_value_error):
    with raises_value_error("is singular: give three independent"):
        call(cell=jnp.diag(jnp.array([5.0, 5.0, 0.0])))
    with raises_value_error("`shell_thickness` must be positive"):
        call(**PERIODIC | {"shell_thickness": 0.0})
    with raises_value_error("`frequencies` not empty, got 0.3, 0.001 and \\[\\]"):
        no_frequencies = SHELLS | {"frequencies": np.array([])}
        ShellGrid.for_structures(CELL, POSITIONS, **no_frequencies)
    with raises_value_error("The cell is traced.*`ShellGrid.for_structures"):
        jax.jit(lambda cell: call(cell=cell))(jnp.asarray(CELL))
    with raises_value_error("`frequencies` are traced, but the shells of a plan are"):
        shells = lambda w: ShellGrid.for_structures(CELL, POSITIONS, frequencies=w)
        jax.jit(lambda w: shells(w).indices)(jnp.asarray(OMEGAS))
    thin_shells = SHELLS | {"shell_thickness": 0.1}
    with raises_value_error(
        "plan has a cutoff of 1.6 1/Å, these frequencies and .* need 2.8"
    ):
        thin = ShellGrid.for_structures(CELL, POSITIONS, **thin_shells)
        call(**PERIODIC, plan=thin)
    batch = ShellGrid.for_structures(CELL[None], POSITIONS[None], **SHELLS)
    with raises_value_error("one structure, its cell .* and a plan without batch axis"):
        call(**PERIODIC, plan=batch)
    with raises_value_error(r"made for cells of shape \[1, 3, 3\], got \[3, 3\]"):
        batch.covers(CELL, POSITIONS)
    with raises_value_error("more than `max_vectors=10`"):
        ShellGrid.for_structures(CELL, POSITIONS, **SHELLS, max_vectors=10)
    # The plan of open boundaries is an `OpenPlan`.
    assert ShellGrid.for_structures(None, POSITIONS, **SHELLS) is None


def test_bad_settings_of_a_layer_raise_errors(raises_value_error):
    make = lambda **options: EuclideanFastAttention(
        4, **({"omega_max": 1.0, "key": jr.key(0)} | options)
    )
    with raises_value_error("`qk_size` is even and at least one, got 5"):
        make(qk_size=5)
    with raises_value_error("`num_heads` is at least one, got 0"):
        make(num_heads=0)
    with raises_value_error(
        "`omega_max` and `shell_thickness` are positive.*got -1.0 and 0.15"
    ):
        make(omega_max=-1.0)
    with raises_value_error(
        "`quadrature_grid` integrates harmonics up to degree 0, the layer has degree 2"
    ):
        make(degree=2, quadrature_grid=lebedev_grid(1.0))
    for degree in (-1, 12, 1000):
        with raises_value_error(f"`degree` is between 0 and 11, got {degree}"):
            make(degree=degree)
    layer, mask = make(degree=1), jnp.ones(3, bool)
    with raises_value_error(r"of degree 1 have shape \[3, 4, 4\], got \[3, 1, 4\]"):
        layer(jnp.ones((3, 1, 4)), jnp.asarray(POSITIONS), None, mask)


@pytest.fixture
def untyped():
    """Disables the type checks of annotations, so that our own messages are raised."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_bad_arguments_of_a_layer_raise_errors(raises_value_error, untyped):
    layer = EuclideanFastAttention(4, omega_max=1.0, shell_thickness=0.3, key=jr.key(0))
    positions, cell = jnp.asarray(POSITIONS), jnp.asarray(CELL)
    arguments = {"features": SCALARS, "positions": positions, "cell": cell}
    arguments |= {"mask": jnp.ones(3, bool)}
    call = lambda **changed: layer(**(arguments | changed))
    with raises_value_error(r"of degree 0 have shape \[3, 4\], got \[3, 5\]"):
        call(features=jnp.ones((3, 5)))
    with raises_value_error(
        r"`mask` is true on real atoms, boolean of shape \[3\], got None: pass"
    ):
        call(mask=None)
    with raises_value_error(r"`mask` is true on .*, got float\d+ of shape \[3\]"):
        call(mask=jnp.ones(3))
    with raises_value_error(r"`mask` is true on .*, got float\d+ of shape \[3\]"):
        attend(*[SCALARS] * 3, positions, frequencies=OMEGAS, mask=jnp.ones(3))
    batch = {name: array[None] for name, array in arguments.items()}
    with raises_value_error(r"`positions` .*for a batch of structures use `jax.vmap`"):
        call(**batch)
    with raises_value_error(r"`features` .*for a batch of structures use `jax.vmap`"):
        call(features=batch["features"])
    with raises_value_error(r"`plan` takes one .*got \[1, 3, 3\]: use `plan_for`"):
        layer.plan(CELL[None], POSITIONS[None])
    with raises_value_error(r"`plan_for` takes a batch.*got \[3, 3\]: use `plan`"):
        layer.plan_for(CELL, POSITIONS)
    with raises_value_error("`positions` of a real atom are not finite.*for atom 2"):
        call(positions=positions.at[2].set(jnp.nan), plan=layer.plan(CELL, POSITIONS))
    plan = layer.plan_for(CELL[None], POSITIONS[None])
    with raises_value_error(
        r"without batch axis, got cells of shape \[3, 3\] and .*\[1, 3, 3\]"
    ):
        call(plan=plan)
    single_plan = layer.plan(CELL, POSITIONS)
    stacked_rows = eqx.tree_at(
        lambda p: (p.indices, p.valid, p.cell, p.num_empty),
        single_plan,
        tuple(
            jnp.stack([x] * 2)[:, 0]
            for x in (single_plan.indices, single_plan.valid, single_plan.cell)
        )
        + (jnp.zeros(2, int),),
    )
    with raises_value_error(
        r"got cells of shape \[3, 3\] and a plan for cells of \[3\]"
    ):
        jax.vmap(lambda c, p: call(cell=c, plan=p)[0])(
            jnp.stack([cell] * 2), stacked_rows
        )
    with raises_value_error(
        "The plan was made for the cell .* up to 0.0011.*make a plan"
    ):
        call(cell=1.05 * cell, plan=single_plan)
    # Any cell is covered if there are no atoms.
    assert not jnp.any(
        call(cell=1.05 * cell, plan=single_plan, mask=jnp.zeros(3, bool))[0]
    )


@pytest.mark.parametrize("number", [np.float64, np.float32, jnp.asarray])
def test_numpy_scalars_are_accepted_as_settings(number, untyped):
    """Static settings are converted to Python numbers, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = EuclideanFastAttention(
            4,
            omega_max=number(1.5),
            shell_thickness=number(0.25),
            degree=np.int64(1),
            num_heads=np.int64(2),
            quadrature_grid=lebedev_grid(
                number(2.0), number(0.0000078125), degree=np.int64(1)
            ),
            key=jr.key(0),
        )
        grid = ShellGrid.for_structures(
            CELL,
            POSITIONS,
            frequencies=OMEGAS,
            shell_thickness=number(0.25),
            margin=number(0.5),
        )
        sphere = LebedevGrid(np.int64(11), number(0.0625), np.int64(0))
    floats = [
        layer.omega_max,
        layer.shell_thickness,
        grid.cutoff,
        grid.max_stretch,
        grid.bands[0][1],
    ]
    floats += [sphere.accuracy, layer.quadrature_grid.accuracy]
    assert all(type(x) is float for x in floats)
    integers = [
        layer.degree,
        layer.num_heads,
        sphere.order,
        sphere.degree,
        layer.quadrature_grid.degree,
    ]
    assert all(type(x) is int for x in integers)
    plan = layer.plan_for(None, POSITIONS[None], np.ones((1, 3), bool))
    assert plan is None or type(plan.max_extent) is float
