"""Padding has no effect, whatever its values, up to second derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_efa import EuclideanFastAttention

CELL = np.array([[5.0, 0.3, 0], [1.0, 5.5, 0], [-1.0, 0.8, 6.0]])
MASK = jnp.arange(5) < 3


def make_layer(method, degree):
    options = {
        "qk_size": 4,
        "v_size": 1,
        "shell_thickness": 0.4,
        "method": method,
        "degree": degree,
    }
    layer = EuclideanFastAttention(2, omega_max=0.5, key=jr.key(0), **options)
    return eqx.tree_at(lambda x: x.output, layer, jnp.ones((degree + 1, 1, 2)))


@pytest.mark.parametrize(
    ("method", "degree", "cell"),
    [("exact", 1, None), ("quadrature", 0, None), ("auto", 1, CELL)],
)
def test_padding_reaches_no_derivative(method, degree, cell):
    efa = make_layer(method, degree)
    rng = np.random.default_rng(0)
    positions, scalars = rng.uniform(0, 5, (5, 3)), rng.normal(size=5)
    plan = efa.plan(cell, positions, np.asarray(MASK))
    arguments = (0, 1) if cell is None else (0, 1, 2)
    shape = (5, (degree + 1) ** 2, 2)

    def update(scalars, positions, cell):
        shaped = scalars[:, None, None] * jnp.ones(shape)
        features = shaped if degree else shaped[:, 0]
        return efa(features, positions, cell, MASK, plan=plan)[0]

    def total(*inputs):
        return jnp.sum(jnp.sin(update(*inputs)))

    def sloped(*inputs):
        slopes = jax.grad(total, arguments)(*inputs)
        return sum(jnp.sum(jnp.cos(s)) for s in slopes), slopes

    @jax.jit
    def values_and_derivatives(scalars, positions):
        """Values, first and second derivatives."""
        inputs = scalars, positions, None if cell is None else jnp.asarray(cell)
        return update(*inputs), *jax.grad(sloped, arguments, has_aux=True)(*inputs)

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
