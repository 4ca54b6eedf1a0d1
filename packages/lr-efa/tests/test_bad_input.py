"""Every mistake is named in one sentence that says what to do."""

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
    attend,
    attend_directional,
    attend_directional_periodic,
    attend_periodic,
    frequency_grid,
    lebedev_grid,
    shell_grid,
)
from lr_efa._arguments import check_arguments, check_choice

OMEGAS = frequency_grid(2, 1.0)
SCALARS = jnp.ones((3, 4))
POSITIONS = np.array([[0.0, 0, 0], [1.0, 2, 2], [0.0, 6, 8]])
CELL = 7 * np.eye(3)


@pytest.fixture
def call():
    """The open or the periodic kernel with one argument changed."""

    def make(kernel=attend, **changed):
        r = jnp.asarray(POSITIONS)
        arguments = {"query": SCALARS, "key": SCALARS, "value": SCALARS}
        arguments |= {"positions": r, "frequencies": OMEGAS}
        if kernel in (attend_periodic, attend_directional_periodic):
            arguments |= {"cell": jnp.asarray(CELL), "shell_width": 0.3}
        return kernel(**(arguments | changed))

    return make


@pytest.fixture
def refused():
    return lambda message: pytest.raises(ValueError, match=message)


def test_features(call, refused):
    odd = jnp.ones((3, 5))
    with refused("pairs of channels, so D_qk is even, got 5"):
        call(query=odd, key=odd)
    with refused(r"`frequencies` has one frequency for each of the 2 pairs.*\[3\]"):
        call(frequencies=frequency_grid(3, 1.0))
    components = {name: jnp.ones((3, 3, 4)) for name in ("query", "key", "value")}
    with refused(r"have \(L \+ 1\)\*\*2 components in e3nn order.*got 3"):
        call(attend_directional, degree=1, **components)
    components = {name: jnp.ones((3, 4, 4)) for name in ("query", "key", "value")}
    with refused(r"`coupling` has one weight for each of the 4 paths.*\[3\]"):
        call(attend_directional, degree=1, coupling=np.ones(3), **components)


def test_cells_and_grids_of_the_open_form(call, refused):
    assert call(grid=lebedev_grid(11.5), method="quadrature").shape == (3, 4)
    with refused("A `cell` is given to the open form.*use `attend_periodic`"):
        call(cell=CELL)
    with refused(
        "frequencies` up to 1 1/Å in a structure of extent .* beyond the grid"
    ):
        call(grid=lebedev_grid(5.0), method="quadrature")
    with refused(r"`grid` integrates harmonics up to degree 0, needed is 1"):
        components = {name: jnp.ones((3, 1, 4)) for name in ("query", "key", "value")}
        call(
            attend_directional,
            degree=1,
            method="quadrature",
            grid=lebedev_grid(10.0),
            **components,
        )
    with refused("traced, so the grid they need is unknown: pass `grid=lebedev_grid"):
        jax.jit(lambda r: call(positions=r, method="quadrature"))(
            jnp.asarray(POSITIONS)
        )


def test_what_the_type_checker_of_the_tests_would_stop_first(refused):
    r = jnp.asarray(POSITIONS)
    with refused(r"`query` and `key` have the same shape, got \[3, 4\] and \[3, 6\]"):
        check_arguments(SCALARS, jnp.ones((3, 6)), SCALARS, r, OMEGAS)
    with refused(r"`value` has one row for each of the 3 atoms.*got \[2, 4\]"):
        check_arguments(SCALARS, SCALARS, jnp.ones((2, 4)), r, OMEGAS)
    with refused(r"`positions` has shape \[atoms, 3\], got \[1, 3, 3\].*jax.vmap"):
        check_arguments(SCALARS, SCALARS, SCALARS, r[None], OMEGAS)
    with refused("`boundary` is one of .*, got 'open'"):
        check_choice("boundary", "open", ("cell", "ignore"))


@pytest.mark.parametrize("order", [13, 25, 27])
def test_grids_with_negative_weights(refused, order):
    with refused(f"order {order} has negative weights"):
        LebedevGrid(order)


def test_grids_that_are_not(refused):
    with refused("There is no Lebedev rule of order 12"):
        LebedevGrid(12)
    with refused("No Lebedev grid integrates phases up to 1000.0 to 1e-05"):
        lebedev_grid(1000.0)
    with refused("`max_phase` must not be negative, got -1.0"):
        lebedev_grid(-1.0)
    with refused("`accuracy` is an error between 0 and 0.1"):
        lebedev_grid(1.0, 0.5)
    with refused("`omega_max` is not negative, got 2 and -1.0"):
        frequency_grid(2, -1.0)


def test_lattices(call, refused):
    with refused("`cell` is singular"):
        call(attend_periodic, cell=jnp.diag(jnp.array([5.0, 5.0, 0.0])))
    with refused("`shell_width` must be positive"):
        call(attend_periodic, shell_width=0.0)
    with refused("`frequencies` not empty, got 0.3, 0.001 and \\[\\]"):
        shell_grid(CELL, np.array([]), shell_width=0.3)
    with refused("or `frequencies` are traced, so the reciprocal vectors"):
        jax.jit(lambda cell: call(attend_periodic, cell=cell))(jnp.asarray(CELL))
    narrow = shell_grid(CELL, OMEGAS, shell_width=0.1)
    with refused("`grid` has a cutoff of 1.6 1/Å, these frequencies and .* need 2.8"):
        call(attend_periodic, grid=narrow)
    many = shell_grid(CELL[None], OMEGAS, shell_width=0.3)
    with refused("one structure, its cell .* and a grid without graph axis"):
        call(attend_periodic, grid=many)
    with refused(r"made for cells of shape \[1, 3, 3\], got \[3, 3\]"):
        many.covers(CELL)
    with refused("more than `max_vectors=10`"):
        shell_grid(CELL, OMEGAS, shell_width=0.3, max_vectors=10)


def test_layers(refused):
    make = lambda **options: EuclideanFastAttention(
        4, **({"omega_max": 1.0, "key": jr.key(0)} | options)
    )
    with refused("`qk_size` is even and at least one, got 5"):
        make(qk_size=5)
    with refused("`num_heads` is at least one, got 0"):
        make(num_heads=0)
    with refused("`omega_max` and `shell_width` are positive.*got -1.0 and 0.15"):
        make(omega_max=-1.0)
    with refused("`grid` integrates harmonics up to degree 0, the layer has degree 2"):
        make(degree=2, grid=lebedev_grid(1.0))
    with refused("`degree` is not negative"):
        make(degree=-1)
    layer, mask = make(degree=1), jnp.ones(3, bool)
    with refused(r"of degree 1 have shape \[3, 4, 4\], got \[3, 1, 4\]"):
        layer(jnp.ones((3, 1, 4)), jnp.asarray(POSITIONS), None, mask)


@pytest.fixture
def untyped():
    """Annotations unchecked, as for users: the messages are for them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_what_does_not_fit_a_layer(refused, untyped):
    layer = EuclideanFastAttention(4, omega_max=1.0, shell_width=0.3, key=jr.key(0))
    places, cell = jnp.asarray(POSITIONS), jnp.asarray(CELL)
    one = {"features": SCALARS, "positions": places, "cell": cell}
    one |= {"mask": jnp.ones(3, bool)}
    call = lambda **changed: layer(**(one | changed))
    with refused(r"of degree 0 have shape \[3, 4\], got \[3, 5\]"):
        call(features=jnp.ones((3, 5)))
    with refused(r"`mask` is true on real atoms, shape \[3\].*got None: pass"):
        call(mask=None)
    plan = layer.plan_for(CELL[None], POSITIONS[None], np.ones((1, 3), bool))
    with refused(r"without graph axis, got cells of shape \[3, 3\] and .*\[1, 3, 3\]"):
        call(plan=plan)
    own = jax.tree.map(lambda x: x[0], plan)
    few = eqx.tree_at(
        lambda p: (p.indices, p.valid, p.cell, p.num_empty),
        own,
        tuple(jnp.stack([x] * 2)[:, 0] for x in (own.indices, own.valid, own.cell))
        + (jnp.zeros(2, int),),
    )
    with refused(r"got cells of shape \[3, 3\] and a grid for cells of \[3\]"):
        jax.vmap(lambda c, p: call(cell=c, plan=p)[0])(jnp.stack([cell] * 2), few)
    with refused("The grid was made for the cell .* up to 0.0011.*make a grid"):
        call(cell=1.05 * cell, plan=own)
    # What no atom sits in does not matter.
    assert not jnp.any(call(cell=1.05 * cell, plan=own, mask=jnp.zeros(3, bool))[0])


@pytest.mark.parametrize("number", [np.float64, np.float32, jnp.asarray])
def test_numbers_of_numpy_are_numbers(number, untyped):
    """Of whatever is static: no warning, and the plans that floats give."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = EuclideanFastAttention(
            4,
            omega_max=number(1.5),
            shell_width=number(0.25),
            degree=np.int64(1),
            num_heads=np.int64(2),
            grid=lebedev_grid(number(2.0), number(0.0000078125), degree=np.int64(1)),
            key=jr.key(0),
        )
        grid = shell_grid(CELL, OMEGAS, shell_width=number(0.25), margin=number(0.5))
        sphere = LebedevGrid(np.int64(11), number(0.0625), np.int64(0))
    floats = [
        layer.omega_max,
        layer.shell_width,
        grid.cutoff,
        grid.max_stretch,
        grid.bands[0][1],
    ]
    floats += [sphere.accuracy, layer.grid.accuracy]
    assert all(type(x) is float for x in floats)
    whole = [
        layer.degree,
        layer.num_heads,
        sphere.order,
        sphere.degree,
        layer.grid.degree,
    ]
    assert all(type(x) is int for x in whole)
    plan = layer.plan_for(None, POSITIONS[None], np.ones((1, 3), bool))
    assert plan is None or type(plan.max_extent) is float
