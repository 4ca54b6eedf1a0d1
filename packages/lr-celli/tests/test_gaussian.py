"""The functions under the Coulomb interaction of two Gaussians, order by order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli._gaussian import boys
from scipy.special import gamma, gammainc


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_boys_functions_are_incomplete_gammas(order, dtype):
    """Both sides of the change from series to closed form, in its precision."""
    u = np.concatenate([np.geomspace(1e-2, 0.99, 30), np.geomspace(1.0, 50.0, 30)])
    half = order + 0.5
    expected = gamma(half) * gammainc(half, u) / (2 * u**half)
    # Some rounding, on both sides; at u = 1 the recurrence magnifies it by about 4.
    bound = 20 * 4.0**order * np.finfo(dtype).eps
    found = jax.jit(lambda u: boys(order, u))(jnp.asarray(u, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=bound)
    at_zero = boys(order, jnp.zeros(1, dtype))
    np.testing.assert_allclose(at_zero, 1 / (2 * order + 1), rtol=1e-6)
