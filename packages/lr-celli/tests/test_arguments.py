"""What layers and kernels say of arguments that do not fit, outside a trace."""

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
PLACES = np.random.default_rng(0).uniform(0, 7, (4, 3))
OPTIONS = {"hidden": (), "width_bounds": (0.1, 1.0), "tolerance": 1e-3}


@contextlib.contextmanager
def untyped():
    """Annotations unchecked, as for users: the messages are for them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@contextlib.contextmanager
def refused(message):
    with untyped(), pytest.raises(ValueError, match=message):
        yield


def made(solver="dense", **options):
    return ChargeEquilibration(2, solver=solver, key=jr.key(0), **(OPTIONS | options))


def call(layer, **changed):
    one = {"features": jnp.ones((4, 2)), "positions": jnp.asarray(PLACES)}
    one |= {"cell": jnp.asarray(CELL), "mask": jnp.ones(4, bool)}
    one |= {"species": jnp.full(4, 6), "total_charge": jnp.zeros(())}
    return layer(**(one | changed))


def planned(layer, graphs=1):
    same = lambda x: np.stack([x] * graphs)
    return layer.plan_for(same(CELL), same(PLACES), np.ones((graphs, 4), bool))


def dipoles():
    return PolarizableChargeEquilibration(made())


@pytest.mark.parametrize("make", [made, dipoles])
def test_shapes_that_do_not_fit_the_layer(make):
    layer = make()
    with refused(r"`features` of 4 atoms for a layer of 2 channels has .*got \[4, 3\]"):
        call(layer, features=jnp.ones((4, 3)))
    with refused(r"`mask` is true on real atoms, shape \[4\], got None: pass"):
        call(layer, mask=None)
    with refused(r"`species` of 4 atoms .* shape \[4\], got \[3\]"):
        call(layer, species=jnp.full(3, 6))
    with refused(r"`positions` has shape \[atoms, 3\], got \[1, 4, 3\].*jax.vmap"):
        call(layer, positions=jnp.asarray(PLACES)[None])
    with refused(r"without graph axis, got cells of shape \[3, 3\] and .*\[1, 3, 3\]"):
        call(layer, plan=planned(made()))
    with refused("got a ParticleMesh" if make is dipoles else r"shape \[1, 4, "):
        call(layer, plan=planned(made("iterative")))
    with refused("is an `Ewald`.*got a (dict|tuple)"):
        call(layer, plan={} if make is made else ())


@pytest.mark.parametrize("solver", ["dense", "iterative"])
def test_plans_with_an_axis_too_few(solver):
    layer = made(solver)
    plan = jax.tree.map(lambda x: x[0], planned(layer, graphs=3))
    batch = [jnp.stack([x] * 3) for x in (PLACES, CELL)]
    over = lambda r, c, plan: call(layer, positions=r, cell=c, plan=plan)[1]
    same = jax.tree.map(lambda x: jnp.stack([x[0] if x.ndim else x] * 3), plan)
    with refused(r"a split for cells of \[3\]|holds pairs of shape \[1?[0-9]\]"):
        jax.vmap(over)(*batch, same)


def test_a_plan_of_another_structure_says_so_outside_a_trace():
    for solver in ("dense", "iterative"):
        layer = made(solver)
        plan = jax.tree.map(lambda x: x[0], planned(layer))
        with refused("make (one|a new plan).*`layer.plan_for"):
            call(layer, cell=jnp.asarray(1.05 * CELL), plan=plan)
        with refused("needs a `cell`"):
            call(layer, cell=None, plan=plan)
    moved = jnp.asarray(PLACES).at[2, 1].add(0.3)
    with refused("an atom moved by more than half of its skin of 0.5 Å"):
        call(layer, positions=moved, plan=plan)
    # What no atom sits in does not matter.
    coulomb_operator(moved, jnp.ones(4), jnp.asarray(CELL), plan, jnp.zeros(4, bool))


def test_widths_that_a_plan_does_not_serve():
    widths = jnp.array([0.3, 0.3, 1.2, 0.3])
    split = Ewald.for_cells(CELL, width_bounds=(0.2, 1.0), tolerance=1e-3)
    with refused("The plan serves widths from 0.2 to 1 Å, got 1.2 Å.*`width_bounds`"):
        coulomb_matrix(jnp.asarray(PLACES), widths, CELL, ewald=split)
    mesh = ParticleMesh.for_structures(CELL, PLACES, width_max=1.0, tolerance=1e-3)
    with refused("serves widths from 0 to 1 Å, got 1.2 Å.*`width_max`"):
        coulomb_operator(jnp.asarray(PLACES), widths, jnp.asarray(CELL), mesh)


@pytest.mark.parametrize("number", [np.float64, np.float32, jnp.asarray])
def test_numbers_of_numpy_are_numbers(number):
    """Of whatever is static: no warning, and the plans that floats give."""
    bounds = tuple(map(number, (0.25, 1.0)))
    with untyped(), warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = made(width_bounds=bounds, tolerance=number(0.0625), scale=number(4.0))
        numbers = {"tolerance": number(0.0625), "margin": number(0.5)}
        split = Ewald.for_cells(CELL, width_bounds=bounds, smear=number(1.5), **numbers)
        mesh = ParticleMesh.for_structures(
            CELL, PLACES, width_max=number(1.0), skin=number(0.25), **numbers
        )
    static = [layer.width_bounds, layer.tolerance, layer.scale, split.width_bounds]
    static += [split.tolerance, split.stretch, mesh.width_max, mesh.skin, mesh.stretch]
    assert all(type(x) is float for x in jax.tree.leaves((static, mesh.smear)))
    plain = made(width_bounds=(0.25, 1.0), tolerance=0.0625, scale=4.0)
    assert jax.tree.structure(layer) == jax.tree.structure(plain)


@pytest.mark.parametrize("make", [made, dipoles])
def test_elements_are_refused_when_a_model_is_built(make):
    make().check_elements(np.array([1, 6, 96]))
    with pytest.raises(ValueError, match="Element 98 has no published covalent radius"):
        make().check_elements(np.array([1, 98, 6]))
