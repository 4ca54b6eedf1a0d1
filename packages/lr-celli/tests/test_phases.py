"""Cosines and sines of whole and broken turns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli._phases import cosine_and_sine


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_turns_are_exact_to_rounding(dtype):
    turns = np.linspace(-20, 20, 4001).astype(dtype)
    exact = 2 * np.pi * (turns - np.round(turns)).astype(float)
    # A turn within half of one is rounded to eps/4, an angle to 2 pi times that.
    bound = 8 * np.finfo(dtype).eps
    for found, expected in zip(
        cosine_and_sine(jnp.asarray(turns)), (np.cos(exact), np.sin(exact)), strict=True
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def test_derivatives_are_each_other():
    turns = jnp.linspace(-1.3, 1.7, 50)
    cosine = lambda t: cosine_and_sine(t)[0]
    slope = jax.vmap(jax.grad(jax.grad(jax.grad(cosine))))(turns)
    expected = (2 * np.pi) ** 3 * np.sin(2 * np.pi * turns)
    np.testing.assert_allclose(slope, expected, atol=1e-11)
