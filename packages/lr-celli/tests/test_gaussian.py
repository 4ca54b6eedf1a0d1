"""The Boys functions, from which the Coulomb interaction of Gaussians is computed."""

import jax
import numpy as np
import pytest
from lr_celli._gaussian import boys
from scipy.special import gamma, gammainc


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_boys_functions_are_incomplete_gamma_functions(order, dtype):
    """Covers both the series and the closed form, in each precision."""
    u = np.concatenate([np.geomspace(1e-2, 0.99, 30), np.geomspace(1.0, 50.0, 30)])
    half = order + 0.5
    expected = gamma(half) * gammainc(half, u) / (2 * u**half)
    # At u = 1 each step of the recurrence multiplies the rounding error by about 4.
    bound = 20 * 4.0**order * np.finfo(dtype).eps
    arguments = np.concatenate([[0.0], u]).astype(dtype)
    actual = np.asarray(jax.jit(lambda u: boys(order, u))(arguments))
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual[1:], expected, rtol=bound)
    np.testing.assert_allclose(actual[0], 1 / (2 * order + 1), rtol=1e-6)
