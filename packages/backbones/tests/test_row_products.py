"""The contraction of each row of edges equals an einsum, with all derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backbones.mace._row_products import sum_over_edges
from jax.test_util import check_grads


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shapes = (3, 8, 5), (3, 8, 4)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in shapes)


def einsum(coefficients, features):
    return jnp.einsum("rem,rec->rmc", coefficients, features)


def test_equals_einsum(arrays):
    np.testing.assert_allclose(sum_over_edges(*arrays), einsum(*arrays), atol=1e-12)


def test_derivatives_of_any_order_and_mode(arrays):
    function = lambda *arrays: sum_over_edges(*map(jnp.asarray, arrays))
    check_grads(function, arrays, order=3, modes=["fwd", "rev"])


def test_forward_over_reverse_equals_that_of_einsum(arrays):
    hessians = [
        jax.jit(jax.hessian(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), (0, 1)))(*arrays)
        for f in (sum_over_edges, einsum)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), *hessians)


def test_batch_of_which_one_argument_is_shared(arrays):
    coefficients, features = arrays
    batch = jnp.stack([coefficients, 2 * coefficients], axis=1)
    batched = [
        jax.vmap(f, (1, None))(batch, features) for f in (sum_over_edges, einsum)
    ]
    np.testing.assert_allclose(*batched, atol=1e-12)


def test_programs_for_accelerators_have_a_matrix_product(arrays):
    exported = jax.export.export(jax.jit(sum_over_edges), platforms=["cuda"])(*arrays)
    assert "dot_general" in exported.mlir_module()


def test_precisions_are_promoted(arrays):
    """Models in double precision are evaluated on batches in single precision."""
    coefficients, features = arrays
    mixed = jax.jit(sum_over_edges)(coefficients.astype(jnp.float32), features)
    assert mixed.dtype == features.dtype == jnp.float64
    expected = sum_over_edges(coefficients, features)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-5)
