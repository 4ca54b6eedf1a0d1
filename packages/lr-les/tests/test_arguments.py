"""Errors of the layer and its kernels for arguments that do not fit."""

import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_les import (
    ChargeSystem,
    Coulomb,
    KGrid,
    LatentEwald,
    Mesh,
    energy,
    lattice_plan,
)

CELL = np.diag([7.0, 8.0, 9.0])
POSITIONS = jnp.asarray(np.random.default_rng(0).uniform(0, 7, (4, 3)))


def make_layer(**options):
    options = {"tolerance": 1e-3} | options
    return LatentEwald(2, key=jr.key(0), **options)


def call(layer, **changed):
    arguments = {"features": jnp.ones((4, 2)), "positions": POSITIONS}
    arguments |= {"cell": jnp.asarray(CELL), "mask": jnp.ones(4, bool)}
    return layer(**(arguments | changed))


@pytest.fixture
def raises_value_error(untyped):
    del untyped
    return lambda message: pytest.raises(ValueError, match=message)


@pytest.mark.parametrize("method", ["direct", "mesh"])
def test_wrong_shapes_raise_errors(raises_value_error, method):
    layer = make_layer(method=method)
    with raises_value_error(
        r"`features` of degree 0 and 2 channels have shape \[4, 2\], got \[4, "
    ):
        call(layer, features=jnp.ones((4, 3)))
    with raises_value_error(
        r"`mask` is true on real atoms, boolean of shape \[4\], got None: pass"
    ):
        call(layer, mask=None)
    with raises_value_error(r"`mask` is true on real .*, got bool of shape \[3\]"):
        call(layer, mask=jnp.ones(3, bool))
    with raises_value_error(r"`mask` is true on .*, got float\d+ of shape \[4\]"):
        call(layer, mask=jnp.ones(4))
    with raises_value_error(r"`mask` is true on .*, got float\d+ of shape \[4\]"):
        energy(jnp.ones(4), POSITIONS, mask=jnp.ones(4))
    batch = {"features": jnp.ones((1, 4, 2)), "positions": POSITIONS[None]}
    batch |= {"cell": jnp.asarray(CELL)[None], "mask": jnp.ones((1, 4), bool)}
    with raises_value_error(r"`positions` .*for a batch of structures use `jax.vmap`"):
        call(layer, **batch)
    with raises_value_error(r"`features` .*for a batch of structures use `jax.vmap`"):
        layer.latent_charges(batch["features"], batch["mask"])
    with raises_value_error(r"`plan` takes one .*got \[1, 4, 3\]: use `plan_for`"):
        layer.plan(CELL[None], POSITIONS[None])
    with raises_value_error(r"`plan_for` takes a batch.*got \[4, 3\]: use `plan`"):
        layer.plan_for(CELL, POSITIONS)
    broken = POSITIONS.at[2].set(jnp.nan)
    with raises_value_error("`positions` of a real atom are not finite.*for atom 2"):
        call(layer, positions=broken, plan=layer.plan(CELL, POSITIONS))
    plan = layer.plan_for(CELL[None], POSITIONS[None])
    with raises_value_error(
        r"without batch axis, got cells of shape \[3, 3\] and .*\[1, 3, 3\]"
    ):
        call(layer, plan=plan)
    single = layer.plan(CELL, POSITIONS)
    stacked_rows = jax.tree.map(lambda x: jnp.stack([x[0]] * 2), single)
    batched = jax.vmap(lambda c, plan: call(layer, cell=c, plan=plan)[1])
    with raises_value_error(
        r"got cells of shape \[3, 3\] and a plan for cells of \[3\]"
    ):
        batched(jnp.stack([CELL] * 2), stacked_rows)
    with raises_value_error("A plan is a `KGrid` or a `Mesh`, got a dict"):
        call(layer, plan={})


@pytest.mark.parametrize("kind", [KGrid, Mesh])
def test_a_plan_of_another_cell_raises_an_error_outside_a_trace(
    raises_value_error, kind
):
    plan = kind.for_structures(CELL, POSITIONS, tolerance=1e-3, power=2)
    charges = jnp.ones(4)
    stretched = jnp.asarray(1.05 * CELL)
    message = "The plan was made for the cell .* strains up to 0.0011.*make a plan"
    for kernel in (energy, ChargeSystem):
        with raises_value_error(message):
            kernel(charges, POSITIONS, stretched, plan=plan)
    with raises_value_error(message):
        call(make_layer(), cell=stretched, plan=plan)
    # Any cell is covered if there are no atoms.
    no_atoms = jnp.zeros(4, bool)
    energies = energy(charges, POSITIONS, stretched, plan=plan, mask=no_atoms)
    assert not jnp.any(energies)


@pytest.mark.parametrize("number", [np.float64, np.float32, jnp.asarray])
def test_numpy_scalars_are_accepted_as_settings(number, untyped):
    """Static settings are converted to Python numbers, without warnings."""
    options = {"sigma": number(1.5), "tolerance": number(0.0625)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = make_layer(**options, dl=number(4.0), neutralize=np.bool(True))
        power = {"margin": number(0.5), "power": np.int64(2)}
        plans = [
            make(CELL, POSITIONS, **options, **power)
            for make in (KGrid.for_structures, Mesh.for_structures, lattice_plan)
        ]
        sharp = KGrid.for_structures(CELL, POSITIONS, dl=number(4.0))
        kernel = Coulomb(number(2.0))
    floats = [(x.sigma, x.max_stretch) for x in plans]
    floats += [sharp.cutoff, kernel.constant, layer.sigma, layer.tolerance, layer.dl]
    assert all(type(x) is float for x in jax.tree.leaves((floats, layer.sigma_min)))
    expected = make_layer(sigma=1.5, tolerance=0.0625, dl=4.0, neutralize=True)
    assert jax.tree.structure(layer) == jax.tree.structure(expected)
    expected = KGrid.for_structures(
        CELL, POSITIONS, sigma=1.5, tolerance=0.0625, margin=0.5, power=2
    )
    assert jax.tree.structure(plans[0]) == jax.tree.structure(expected)
