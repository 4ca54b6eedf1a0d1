"""Padding is inert whatever it holds, in every derivative that training takes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_celli import (
    ChargeEquilibration,
    Ewald,
    ParticleMesh,
    PolarizableChargeEquilibration,
    coulomb_operator,
    coulomb_sums,
)

CELL = np.array([[5.0, 0.3, 0], [1.0, 5.5, 0], [-1.0, 0.8, 6.0]])
MASK = jnp.arange(5) < 3


def charge(charges, positions, cell, plan):
    return coulomb_operator(positions, jnp.full(5, 0.6), cell, plan, MASK)(charges)


def matrix(charges, positions, cell, plan):
    sums = coulomb_sums(positions, jnp.full(5, 0.6), cell, ewald=plan, mask=MASK)
    return sums.matrix() @ jnp.where(MASK, charges, 0.0)


def of_layer(make):
    def call(features, positions, cell, plan):
        with jax.ensure_compile_time_eval():
            layer = make()
        species = jnp.where(MASK, 6, 0)
        features = features[:, None] * jnp.ones(2)
        facts = {"species": species, "total_charge": jnp.zeros(()), "plan": plan}
        update, energies, charges = layer(features, positions, cell, MASK, **facts)
        return jnp.concatenate([update.ravel(), energies, charges])

    return call


def layer(solver="dense"):
    options = {"hidden": (), "solver": solver, "width_bounds": (0.1, 1.0)}
    made = ChargeEquilibration(2, tolerance=1e-3, key=jr.key(0), **options)
    last = lambda x: x.embedding.update.weights[-1]
    return eqx.tree_at(last, made, jnp.ones_like(last(made)))


dense = lambda: Ewald.for_cells(CELL, width_bounds=(0.1, 1.0), tolerance=1e-3)
KERNELS = {
    "open": (matrix, None),
    "matrix": (matrix, dense),
    "operator": (charge, "mesh"),
    "layer": (of_layer(layer), dense),
    "iterative layer": (of_layer(lambda: layer("iterative")), "mesh"),
    "dipoles": (of_layer(lambda: PolarizableChargeEquilibration(layer())), dense),
}


@pytest.mark.parametrize("name", KERNELS)
def test_padding_reaches_no_derivative(name):
    kernel, make = KERNELS[name]
    rng = np.random.default_rng(0)
    places, scalars = rng.uniform(0, 5, (5, 3)), rng.normal(size=5)
    cell = None if make is None else jnp.asarray(CELL)
    if make == "mesh":
        options = {"width_max": 1.0, "tolerance": 1e-3, "skin": 0.1}
        plan = ParticleMesh.for_structures(CELL, places, np.asarray(MASK), **options)
    else:
        plan = None if make is None else make()
    arguments = (0, 1) if cell is None else (0, 1, 2)

    def total(scalars, places, cell):
        return jnp.sum(jnp.sin(kernel(scalars, places, cell, plan)))

    def sloped(*inputs):
        slopes = jax.grad(total, arguments)(*inputs)
        return sum(jnp.sum(jnp.cos(s)) for s in slopes), slopes

    @jax.jit
    def everything(scalars, places):
        """Values, slopes and slopes of slopes."""
        inputs = scalars, places, cell
        value = kernel(*inputs, plan)
        return value, *jax.grad(sloped, arguments, has_aux=True)(*inputs)

    found = []
    for junk in (0.0, np.nan, np.inf):
        filled = np.where(MASK, scalars, junk), np.where(MASK[:, None], places, junk)
        found.append(jax.tree.leaves(everything(*map(jnp.asarray, filled))))
    assert all(jnp.all(jnp.isfinite(x)) and jnp.any(x) for x in found[0])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
