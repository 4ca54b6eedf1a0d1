"""The basis of distance and angle of DimeNet++."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backbones.dimenet._spherical_bessel import (
    bessel_zeros,
    radial_waves,
    spherical_bessel,
    zonal_harmonics,
)
from scipy.integrate import quad
from scipy.special import eval_legendre, spherical_jn


@pytest.mark.parametrize("degree", range(8))
def test_bessel_functions_agree_with_scipy(degree):
    x = np.linspace(0.0, 40.0, 4001)
    expected = spherical_jn(degree, x)
    np.testing.assert_allclose(
        spherical_bessel(jnp.asarray(x), degree), expected, atol=3e-15
    )
    # For small arguments the closed form loses all digits by cancellation.
    single = spherical_bessel(jnp.asarray(x[1:], jnp.float32), degree)
    assert single.dtype == jnp.float32
    exact = spherical_jn(degree, np.asarray(x[1:], np.float32).astype(float))
    # Rounding of up to seven steps of the recurrence.
    np.testing.assert_allclose(single, exact, atol=1e-6)
    small = x[1:] < degree + 1
    np.testing.assert_allclose(single[small], exact[small], rtol=5e-6)


def test_derivatives_of_bessel_functions_agree_across_the_branches():
    derivative = jax.vmap(jax.grad(lambda x: spherical_bessel(x, 3)))
    x = np.array([1e-3, 4.9, 5.0, 5.1, 12.0])
    np.testing.assert_allclose(derivative(x), spherical_jn(3, x, True), atol=1e-14)


def test_zeros_of_bessel_functions_are_complete():
    zeros = bessel_zeros(7, 6)
    grid = np.linspace(0.5, 35.0, 200_000)
    for degree, row in enumerate(zeros):
        values = spherical_jn(degree, grid)
        crossings = grid[:-1][np.diff(np.sign(values)) != 0]
        np.testing.assert_allclose(row, crossings[:6], atol=2e-4)
        assert np.abs(spherical_jn(degree, row)).max() < 1e-14


def test_radial_waves_are_orthonormal():
    cutoff = 3.0
    r = np.linspace(1e-6, cutoff, 20_001)
    waves = np.asarray(radial_waves(jnp.asarray(r), cutoff, 4, 3))
    gram = np.trapezoid(
        np.einsum("rln,rlm->rlnm", waves, waves) * r[:, None, None, None] ** 2,
        r,
        axis=0,
    )
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-6)


def test_harmonics_are_normalized_legendre_polynomials():
    cosine = np.linspace(-1, 1, 11)
    harmonics = zonal_harmonics(jnp.asarray(cosine), 5)
    for degree in range(5):
        norm = quad(lambda c, d=degree: 2 * np.pi * eval_legendre(d, c) ** 2, -1, 1)[0]
        expected = eval_legendre(degree, cosine) / norm**0.5
        np.testing.assert_allclose(harmonics[:, degree], expected, atol=1e-14)
