"""Interactions other than Coulomb, and the functions they are made of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads
from jaxpme.kspace import generate_kvectors, get_reciprocal
from jaxpme.potentials import potential
from jaxpme.solvers import ewald
from lr_les import COULOMB_CONSTANT, Coulomb, GaussianSum, InverseSixth, energy, k_grid
from lr_les._incomplete_gamma import gaussian_moments

SUM = ([0.7, -0.4, 0.2], [1.05, 1.6, 2.4])
KERNELS = [
    pytest.param(Coulomb, id="Coulomb"),
    pytest.param(InverseSixth, id="1/r6"),
    pytest.param(lambda: GaussianSum(*map(np.array, SUM)), id="Gaussians"),
]


@pytest.mark.parametrize("start", [0.5, 3.0])
def test_integrals_are_incomplete_gamma_functions(start):
    x = np.concatenate([[1e-9, 0.3, 0.999999, 1.000001], np.linspace(1.2, 60, 30)])
    found = jax.jit(lambda x: gaussian_moments(start, x, 4))(jnp.asarray(x))
    for n, values in enumerate(found):
        a = start + n
        exact = scipy.special.gammainc(a, x) * scipy.special.gamma(a) / x**a
        np.testing.assert_allclose(values, exact, rtol=1e-11)


@pytest.mark.parametrize("make", KERNELS)
def test_radial_functions_are_derivatives_of_one_another(make):
    kernel, sigma = make(), jnp.array(0.9)
    squared = jnp.array([0.0, 0.4, 2.0, 2.3, 30.0])
    slope = jax.grad(lambda u, n: kernel.radial(u, sigma, 5)[n])
    for n in range(5):
        next_one = kernel.radial(squared, sigma, 5)[n + 1]
        found = jax.vmap(lambda u, n=n: -2 * slope(u, n))(squared)
        np.testing.assert_allclose(found, next_one, rtol=1e-9)


@pytest.mark.parametrize("make", KERNELS)
def test_spectrum_is_the_transform_of_the_kernel(make):
    """By quadrature of what is left of K beyond its Coulomb or 1/r^6 tail."""
    kernel, sigma = make(), jnp.array(0.9)
    k = np.array([0.7, 1.9, 3.0])
    r, step = np.linspace(0, 60, 24001, retstep=True)
    values = np.asarray(kernel.radial(jnp.asarray(r**2), sigma, 0)[0])
    tail = 0.0
    if isinstance(kernel, Coulomb):
        # Minus k_e/r, whose transform is 4 pi k_e/k^2, the rest is short-ranged.
        values = values * r - COULOMB_CONSTANT
        tail = 4 * math.pi * COULOMB_CONSTANT / k**2
        integrand = values * np.sin(k[:, None] * r)
    else:
        integrand = values * r * np.sin(k[:, None] * r)
    found = tail + 4 * math.pi / k * np.trapezoid(integrand, dx=step, axis=1)
    exact = kernel.fourier_transform(jnp.asarray(k**2), sigma)
    np.testing.assert_allclose(found, exact, rtol=2e-4, atol=2e-4)


def test_inverse_sixth_is_that_of_jax_pme(structure, triclinic):
    q, r = structure(channels=1)
    sigma = 1.1
    k = generate_kvectors(get_reciprocal(triclinic), (25, 25, 25), dtype=r.dtype)
    half = ewald(potential(exponent=6)).kspace(
        jnp.array(sigma),
        q[:, 0],
        k,
        r,
        jnp.abs(jnp.linalg.det(triclinic)),
        triclinic,
        np.array([True] * 3),
    )
    grid = k_grid(triclinic, sigma=sigma, tolerance=1e-14, power=2)
    found = energy(q, r, triclinic, sigma=sigma, kernel=InverseSixth(), grid=grid)
    np.testing.assert_allclose(jnp.sum(found), jnp.sum(q[:, 0] * half), rtol=1e-9)


def test_inverse_sixth_becomes_bare_far_away():
    q, r = jnp.array([2.0, 3.0]), jnp.array([[0.0, 0, 0], [7.0, 0, 0]])
    found = jnp.sum(energy(q, r, kernel=InverseSixth()))
    np.testing.assert_allclose(found, 6.0 / 7.0**6, rtol=1e-6)


def test_gaussians_are_the_sum_over_all_images(structure, triclinic):
    q, r = map(np.asarray, structure())
    kernel = GaussianSum(*map(np.array, SUM))
    images = (np.array(list(np.ndindex(9, 9, 9))) - 4.0) @ np.asarray(triclinic)
    apart = r[:, None, None] - r[None, :, None] + images
    squared = np.sum(apart**2, axis=-1)
    pairs = sum(
        a * np.exp(-squared / (2 * (1.3 * s) ** 2)).sum(-1)
        for a, s in zip(*SUM, strict=True)
    )
    expected = 0.5 * np.sum((q @ q.T) * pairs)
    grid = k_grid(triclinic, sigma=1.3, tolerance=1e-12, power=2)
    found = energy(
        jnp.asarray(q),
        jnp.asarray(r),
        triclinic,
        sigma=1.3,
        kernel=kernel,
        grid=grid,
        remove_self=False,
    )
    # Images beyond the fourth feel exp(-24^2/2/3.1^2) of the widest Gaussian.
    np.testing.assert_allclose(jnp.sum(found), expected, rtol=1e-10)


@pytest.mark.parametrize(("base", "error"), [(2.0, 3e-3), (1.5, 2e-5)])
def test_a_series_of_gaussians_resembles_coulomb(base, error):
    kernel = GaussianSum.like_coulomb(40, base=base)
    r = jnp.linspace(8.0, 30.0, 50)
    found = kernel.radial(r**2, jnp.array(1.0), 0)[0]
    np.testing.assert_allclose(found, COULOMB_CONSTANT / r, rtol=error)


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_parameters_and_widths_train(make, cell, structure):
    q, r = structure(3)
    kernel = make()
    grid = None if cell is None else k_grid(cell, sigma=0.9, tolerance=1e-2, power=2)

    @jax.jit
    def value(kernel, sigma, r):
        energies = energy(q, r, cell, kernel=kernel, sigma=sigma, grid=grid)
        return jnp.sum(energies * jnp.arange(1.0, 4))

    check_grads(value, (kernel, jnp.array(1.1), r), 2, ["rev"], atol=1e-4, rtol=1e-4)
    slopes = jax.grad(value, (0, 1))(kernel, jnp.array(1.1), r)
    assert all(jnp.all(slope != 0) for slope in jax.tree.leaves(slopes))


@pytest.mark.parametrize("make", KERNELS)
def test_supercells(make, structure, triclinic):
    q, r = structure()
    twice = triclinic * jnp.array([[2.0], [1.0], [1.0]])
    images = jnp.concatenate([r, r + triclinic[0]])
    single, double = (
        energy(*a, kernel=make(), grid=k_grid(a[2], tolerance=1e-3, power=2))
        for a in ((q, r, triclinic), (jnp.tile(q, (2, 1)), images, twice))
    )
    np.testing.assert_allclose(double, jnp.tile(single, 2), rtol=1e-9, atol=1e-9)


def test_widths_within_sigma_are_refused():
    with pytest.raises(
        ValueError, match=r"above one, got \[1.0\]: make `sigma` smaller"
    ):
        GaussianSum(np.array([1.0]), np.array([1.0]))


def test_the_constant_belongs_to_one_kernel(structure):
    q, r = structure()
    with pytest.raises(ValueError, match=r"belongs to the default kernel"):
        energy(q, r, kernel=InverseSixth(), coulomb_constant=1.0)
    by_argument = energy(q, r, coulomb_constant=2.0)
    np.testing.assert_allclose(energy(q, r, kernel=Coulomb(2.0)), by_argument)
