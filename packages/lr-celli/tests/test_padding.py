"""Padding does not affect results, whatever its values, up to second derivatives."""

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
MASK = np.arange(5) < 3


def apply_operator(charges, positions, cell, plan):
    widths, mask = jnp.full(5, 0.6), jnp.asarray(MASK)
    return coulomb_operator(widths, positions, cell, plan=plan, mask=mask)(charges)


def apply_matrix(charges, positions, cell, plan):
    widths, mask = jnp.full(5, 0.6), jnp.asarray(MASK)
    sums = coulomb_sums(widths, positions, cell, plan=plan, mask=mask)
    return sums.matrix() @ jnp.where(mask, charges, 0.0)


def apply_layer(make):
    def call(features, positions, cell, plan):
        with jax.ensure_compile_time_eval():
            layer = make()
        mask = jnp.asarray(MASK)
        features = features[:, None] * jnp.ones(2)
        kwargs = {"species": jnp.where(mask, 6, 0), "total_charge": jnp.zeros(())}
        update, energies, charges = layer(
            features, positions, cell, mask, plan=plan, **kwargs
        )
        return jnp.concatenate([update.ravel(), energies, charges])

    return call


def make_layer(solver="dense"):
    options = {"hidden": (), "solver": solver, "width_bounds": (0.1, 1.0)}
    layer = ChargeEquilibration(2, tolerance=1e-3, key=jr.key(0), **options)
    last = lambda x: x.embedding.update_network.weights[-1]
    return eqx.tree_at(last, layer, jnp.ones_like(last(layer)))


ewald = lambda: Ewald.for_structures(
    CELL, np.zeros((5, 3)), MASK, width_bounds=(0.1, 1.0), tolerance=1e-3
)
polarizable = lambda: PolarizableChargeEquilibration(make_layer())
KERNELS = {
    "open": (apply_matrix, None),
    "matrix": (apply_matrix, ewald),
    "operator": (apply_operator, "mesh"),
    "layer": (apply_layer(make_layer), ewald),
    "iterative layer": (apply_layer(lambda: make_layer("iterative")), "mesh"),
    "dipoles": (apply_layer(polarizable), ewald),
}


@pytest.mark.parametrize("name", KERNELS)
def test_padding_changes_no_value_and_no_derivative(name):
    kernel, make = KERNELS[name]
    rng = np.random.default_rng(0)
    positions, scalars = rng.uniform(0, 5, (5, 3)), rng.normal(size=5)
    cell = None if make is None else jnp.asarray(CELL)
    if make == "mesh":
        options = {"width_max": 1.0, "tolerance": 1e-3, "skin": 0.1}
        plan = ParticleMesh.for_structures(CELL, positions, MASK, **options)
    else:
        plan = None if make is None else make()
    argnums = (0, 1) if cell is None else (0, 1, 2)

    def total(*inputs):
        value = kernel(*inputs, plan)
        return jnp.sum(jnp.sin(value)), value

    def total_of_gradients(*inputs):
        gradients, value = jax.grad(total, argnums, has_aux=True)(*inputs)
        return sum(jnp.sum(jnp.cos(x)) for x in gradients), (value, gradients)

    @jax.jit
    def derivatives(scalars, positions):
        """Second derivatives, values and first derivatives."""
        inputs = scalars, positions, cell
        return jax.grad(total_of_gradients, argnums, has_aux=True)(*inputs)

    results = []
    for padding in (0.0, np.nan, np.inf):
        inputs = (
            np.where(MASK, scalars, padding),
            np.where(MASK[:, None], positions, padding),
        )
        results.append(jax.device_get(jax.tree.leaves(derivatives(*inputs))))
    assert all(np.all(np.isfinite(x)) and np.any(x) for x in results[0])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
