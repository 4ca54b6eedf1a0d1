"""Padding has no effect, whatever its values, up to second derivatives."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_les import (
    ChargeSystem,
    KGrid,
    LatentEwald,
    Mesh,
    Multipoles,
    born_charges,
    energy,
)

CELL = np.array([[5.0, 0.3, 0], [1.0, 5.5, 0], [-1.0, 0.8, 6.0]])
MASK = jnp.arange(5) < 3


def energies(charges, positions, cell, plan):
    dipoles = charges[:, None] * jnp.array([0.3, -0.2, 0.5])
    moments = Multipoles(charges, dipoles)
    return energy(moments, positions, cell, plan=plan, mask=MASK)


def layer_outputs(charges, positions, cell, plan):
    with jax.ensure_compile_time_eval():
        layer = LatentEwald(2, tolerance=1e-3, key=jr.key(0))
    features = charges[:, None] * jnp.ones(2)
    return jnp.stack(layer(features, positions, cell, MASK, plan=plan)[1:])


def induced(charges, positions, cell, plan):
    system = ChargeSystem(charges, positions, cell, plan=plan, mask=MASK)
    return system.induction(charges, charges)[0]


def phases(charges, positions, cell, plan):
    del plan
    moment = ChargeSystem(charges, positions, cell, mask=MASK).polarization()
    return jnp.concatenate([moment.real, moment.imag])


def born(charges, positions, cell, plan):
    del plan
    moving = lambda r, cell: jnp.where(MASK, charges, 0.0) * jnp.sum(r**2, axis=1)
    return born_charges(moving, positions, cell, mask=MASK).reshape(5, 9)


def second_moment(charges, positions, cell, plan):
    del cell, plan
    return ChargeSystem(charges, positions, mask=MASK).quadrupole()


ATOMS = np.zeros((5, 3))
grid = lambda: KGrid.for_structures(CELL, ATOMS, tolerance=1e-3, power=2)
mesh = lambda: Mesh.for_structures(CELL, ATOMS, tolerance=1e-3, power=2)
KERNELS = {
    "open": (energies, None),
    "direct": (energies, grid),
    "mesh": (energies, mesh),
    "layer": (layer_outputs, grid),
    "induction": (induced, grid),
    "phases": (phases, grid),
    "born charges": (born, grid),
    "open born charges": (born, None),
    "quadrupole": (second_moment, None),
}


@pytest.mark.parametrize("name", KERNELS)
def test_padding_reaches_no_derivative(name):
    kernel, make = KERNELS[name]
    rng = np.random.default_rng(0)
    positions, scalars = rng.uniform(0, 5, (5, 3)), rng.normal(size=5)
    cell = None if make is None else jnp.asarray(CELL)
    plan = None if make is None else make()
    arguments = (0, 1) if cell is None else (0, 1, 2)

    def total(scalars, positions, cell):
        return jnp.sum(jnp.sin(kernel(scalars, positions, cell, plan)))

    def sloped(*inputs):
        slopes = jax.grad(total, arguments)(*inputs)
        return sum(jnp.sum(jnp.cos(s)) for s in slopes), slopes

    @jax.jit
    def values_and_derivatives(scalars, positions):
        """Values, first and second derivatives."""
        inputs = scalars, positions, cell
        value = kernel(*inputs, plan)
        return value, *jax.grad(sloped, arguments, has_aux=True)(*inputs)

    results = []
    for fill in (0.0, np.nan, np.inf):
        filled = np.where(MASK, scalars, fill), np.where(MASK[:, None], positions, fill)
        results.append(
            jax.tree.leaves(values_and_derivatives(*map(jnp.asarray, filled)))
        )
    assert all(jnp.all(jnp.isfinite(x)) and jnp.any(x) for x in results[0])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
