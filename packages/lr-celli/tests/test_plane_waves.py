"""Cosines and sines of multiples of a full turn."""

import jax
import numpy as np
import pytest
from lr_celli._plane_waves import cosine_and_sine


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cosine_and_sine_are_accurate_to_rounding(dtype):
    turns = np.linspace(-20, 20, 4001).astype(dtype)
    angles = 2 * np.pi * (turns - np.round(turns)).astype(float)
    # A fractional turn below one half is rounded to eps/4, an angle to 2 pi times that.
    bound = 8 * np.finfo(dtype).eps
    for actual, expected in zip(
        jax.jit(cosine_and_sine)(turns), (np.cos(angles), np.sin(angles)), strict=True
    ):
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def test_third_derivative_of_the_cosine_is_a_sine():
    turns = np.linspace(-1.3, 1.7, 50)
    cosine = lambda t: cosine_and_sine(t)[0]
    derivative = jax.jit(jax.vmap(jax.grad(jax.grad(jax.grad(cosine)))))(turns)
    expected = (2 * np.pi) ** 3 * np.sin(2 * np.pi * turns)
    np.testing.assert_allclose(derivative, expected, atol=1e-11)
