"""What the layer and its kernels say of arguments that do not fit."""

import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_les import (
    Coulomb,
    LatentEwald,
    energy,
    induction,
    k_grid,
    lattice_plan,
    mesh,
    potential_and_field,
)

CELL = np.diag([7.0, 8.0, 9.0])
PLACES = jnp.asarray(np.random.default_rng(0).uniform(0, 7, (4, 3)))


def made(**options):
    options = {"tolerance": 1e-3} | options
    return LatentEwald(2, key=jr.key(0), **options)


def call(layer, **changed):
    one = {"features": jnp.ones((4, 2)), "positions": PLACES}
    one |= {"cell": jnp.asarray(CELL), "mask": jnp.ones(4, bool)}
    return layer(**(one | changed))


@pytest.fixture
def refused(untyped):
    del untyped
    return lambda message: pytest.raises(ValueError, match=message)


@pytest.mark.parametrize("method", ["direct", "mesh"])
def test_shapes_that_do_not_fit_the_layer(refused, method):
    layer = made(method=method)
    with refused(
        r"`features` of degree 0 and 2 channels have shape \[4, 2\], got \[4, "
    ):
        call(layer, features=jnp.ones((4, 3)))
    with refused(r"`mask` is true on real atoms, shape \[4\].*got None: pass"):
        call(layer, mask=None)
    with refused(r"`mask` is true on real atoms, shape \[4\].*got \[3\]"):
        call(layer, mask=jnp.ones(3, bool))
    plan = layer.plan_for(CELL[None], PLACES[None], np.ones((1, 4), bool))
    with refused(r"without graph axis, got cells of shape \[3, 3\] and .*\[1, 3, 3\]"):
        call(layer, plan=plan)
    one = jax.tree.map(lambda x: x[0], plan)
    few = jax.tree.map(lambda x: jnp.stack([x[0]] * 2), one)
    over = jax.vmap(lambda c, plan: call(layer, cell=c, plan=plan)[1])
    with refused(r"got cells of shape \[3, 3\] and a grid for cells of \[3\]"):
        over(jnp.stack([CELL] * 2), few)
    with refused("A grid is a `KGrid` or a `Mesh`, got a dict"):
        call(layer, plan={})


@pytest.mark.parametrize("make", [k_grid, mesh])
def test_a_grid_of_another_cell_says_so_outside_a_trace(refused, make):
    grid, charges = make(CELL, tolerance=1e-3, power=2), jnp.ones(4)
    wide = jnp.asarray(1.05 * CELL)
    responses = {"charge_response": charges, "polarizability": charges}
    message = (
        "The grid was made for the cell .* stretches up to 0.0011.*make a grid for"
    )
    for kernel, options in (
        (energy, {}),
        (potential_and_field, {}),
        (induction, responses),
    ):
        with refused(message):
            kernel(charges, PLACES, wide, grid=grid, **options)
    with refused(message):
        call(made(), cell=wide, plan=grid)
    # What no atom sits in does not matter.
    nothing = energy(charges, PLACES, wide, grid=grid, mask=jnp.zeros(4, bool))
    assert not jnp.any(nothing)


@pytest.mark.parametrize("number", [np.float64, np.float32, jnp.asarray])
def test_numbers_of_numpy_are_numbers(number, untyped):
    """Of whatever is static: no warning, and the plans that floats give."""
    options = {"sigma": number(1.5), "tolerance": number(0.0625)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = made(**options, dl=number(4.0), neutralize=np.bool(True))
        power = {"margin": number(0.5), "power": np.int64(2)}
        grids = [f(CELL, **options, **power) for f in (k_grid, mesh)]
        grids.append(lattice_plan(CELL, 4, **options, **power))
        sharp = k_grid(CELL, dl=number(4.0))
        kernel = Coulomb(number(2.0))
    found = [(x.sigma, x.max_stretch) for x in grids]
    found += [sharp.cutoff, kernel.constant, layer.sigma, layer.tolerance, layer.dl]
    assert all(type(x) is float for x in jax.tree.leaves((found, layer.sigma_min)))
    plain = made(sigma=1.5, tolerance=0.0625, dl=4.0, neutralize=True)
    assert jax.tree.structure(layer) == jax.tree.structure(plain)
    plain = k_grid(CELL, sigma=1.5, tolerance=0.0625, margin=0.5, power=2)
    assert jax.tree.structure(grids[0]) == jax.tree.structure(plain)
