"""Interactions other than Coulomb, and the functions they consist of."""

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
from lr_les import COULOMB_CONSTANT, Coulomb, GaussianSum, InverseSixth, KGrid, energy
from lr_les._incomplete_gamma import gaussian_moments

SUM = ([0.7, -0.4, 0.2], [1.05, 1.6, 2.4])
KERNELS = [
    pytest.param(Coulomb, id="Coulomb"),
    pytest.param(InverseSixth, id="1/r6"),
    pytest.param(lambda: GaussianSum(*map(np.array, SUM)), id="Gaussians"),
]
compiled_energy = jax.jit(energy, static_argnames=("sigma", "remove_self"))


@pytest.mark.parametrize("start", [0.5, 3.0])
def test_integrals_are_incomplete_gamma_functions(start):
    x = np.concatenate([[1e-9, 0.3, 0.999999, 1.000001], np.linspace(1.2, 60, 30)])
    integrals = jax.jit(lambda x: gaussian_moments(start, x, 4))(jnp.asarray(x))
    for n, values in enumerate(integrals):
        a = start + n
        exact = scipy.special.gammainc(a, x) * scipy.special.gamma(a) / x**a
        np.testing.assert_allclose(values, exact, rtol=1e-11)


@pytest.mark.parametrize("make", KERNELS)
def test_radial_functions_are_derivatives_of_one_another(make):
    kernel, sigma = make(), jnp.array(0.9)

    @jax.jit
    def functions_and_slopes(squared):
        slope = jax.grad(lambda u, n: kernel.radial(u, sigma, 5)[n])
        slopes = [jax.vmap(lambda u, n=n: -2 * slope(u, n))(squared) for n in range(5)]
        return kernel.radial(squared, sigma, 5), slopes

    functions, slopes = functions_and_slopes(jnp.array([0.0, 0.4, 2.0, 2.3, 30.0]))
    for next_function, slope in zip(functions[1:], slopes, strict=True):
        np.testing.assert_allclose(slope, next_function, rtol=1e-9)


@pytest.mark.parametrize("make", KERNELS)
def test_fourier_transform_is_that_of_the_kernel(make):
    """Compared with quadrature of K minus its Coulomb tail."""
    kernel, sigma = make(), jnp.array(0.9)
    k = np.array([0.7, 1.9, 3.0])
    r, step = np.linspace(0, 60, 24001, retstep=True)
    radial = jax.jit(lambda squared: kernel.radial(squared, sigma, 0)[0])
    values = np.asarray(radial(jnp.asarray(r**2)))
    tail = 0.0
    if isinstance(kernel, Coulomb):
        # K - k_e/r is short-ranged; the transform of k_e/r is 4 pi k_e/k^2.
        values = values * r - COULOMB_CONSTANT
        tail = 4 * math.pi * COULOMB_CONSTANT / k**2
        integrand = values * np.sin(k[:, None] * r)
    else:
        integrand = values * r * np.sin(k[:, None] * r)
    transform = tail + 4 * math.pi / k * np.trapezoid(integrand, dx=step, axis=1)
    exact = jax.jit(lambda k: kernel.fourier_transform(k**2, sigma))(k)
    np.testing.assert_allclose(transform, exact, rtol=2e-4, atol=2e-4)


def test_inverse_sixth_is_that_of_jax_pme(structure, triclinic):
    q, r = structure(channels=1)
    sigma = 1.1

    @jax.jit
    def total_of_jax_pme(q, r):
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
        return jnp.sum(q[:, 0] * half)

    plan = KGrid.for_structures(triclinic, r, sigma=sigma, tolerance=1e-14, power=2)
    energies = compiled_energy(
        q, r, triclinic, sigma=sigma, kernel=InverseSixth(), plan=plan
    )
    np.testing.assert_allclose(jnp.sum(energies), total_of_jax_pme(q, r), rtol=1e-9)


def test_inverse_sixth_is_undamped_at_large_distances():
    q, r = jnp.array([2.0, 3.0]), jnp.array([[0.0, 0, 0], [7.0, 0, 0]])
    total = jnp.sum(compiled_energy(q, r, kernel=InverseSixth()))
    np.testing.assert_allclose(total, 6.0 / 7.0**6, rtol=1e-6)


def test_gaussians_are_the_sum_over_all_images(structure, triclinic):
    q, r = map(np.asarray, structure())
    kernel = GaussianSum(*map(np.array, SUM))
    images = (np.array(list(np.ndindex(9, 9, 9))) - 4.0) @ np.asarray(triclinic)
    separation = r[:, None, None] - r[None, :, None] + images
    squared = np.sum(separation**2, axis=-1)
    pairs = sum(
        a * np.exp(-squared / (2 * (1.3 * s) ** 2)).sum(-1)
        for a, s in zip(*SUM, strict=True)
    )
    expected = 0.5 * np.sum((q @ q.T) * pairs)
    plan = KGrid.for_structures(triclinic, r, sigma=1.3, tolerance=1e-12, power=2)
    energies = compiled_energy(
        jnp.asarray(q),
        jnp.asarray(r),
        triclinic,
        sigma=1.3,
        kernel=kernel,
        plan=plan,
        remove_self=False,
    )
    # The widest Gaussian is exp(-24^2/2/3.1^2) at the first images that are left out.
    np.testing.assert_allclose(jnp.sum(energies), expected, rtol=1e-10)


@pytest.mark.parametrize(("base", "error"), [(2.0, 3e-3), (1.5, 2e-5)])
def test_a_series_of_gaussians_approximates_coulomb(base, error):
    kernel = GaussianSum.like_coulomb(40, base=base)
    r = np.linspace(8.0, 30.0, 50)
    radial = jax.jit(lambda squared, sigma: kernel.radial(squared, sigma, 0)[0])
    values = radial(jnp.asarray(r**2), jnp.array(1.0))
    np.testing.assert_allclose(values, COULOMB_CONSTANT / r, rtol=error)


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_parameters_and_widths_train(make, cell, structure):
    q, r = structure(3)
    kernel = make()
    plan = KGrid.for_structures(cell, r, sigma=0.9, tolerance=1e-2, power=2)

    @jax.jit
    def value(kernel, sigma, r):
        energies = energy(q, r, cell, kernel=kernel, sigma=sigma, plan=plan)
        return jnp.sum(energies * jnp.arange(1.0, 4))

    check_grads(value, (kernel, jnp.array(1.1), r), 2, ["rev"], atol=1e-4, rtol=1e-4)
    slopes = jax.jit(jax.grad(value, (0, 1)))(kernel, jnp.array(1.1), r)
    assert all(np.all(np.asarray(slope) != 0) for slope in jax.tree.leaves(slopes))


@pytest.mark.parametrize("make", KERNELS)
def test_supercells(make, structure, triclinic):
    q, r = structure()
    twice = triclinic * jnp.array([[2.0], [1.0], [1.0]])
    images = jnp.concatenate([r, r + triclinic[0]])
    single, double = (
        compiled_energy(
            *a,
            kernel=make(),
            plan=KGrid.for_structures(a[2], a[1], tolerance=1e-3, power=2),
        )
        for a in ((q, r, triclinic), (jnp.tile(q, (2, 1)), images, twice))
    )
    np.testing.assert_allclose(double, jnp.tile(single, 2), rtol=1e-9, atol=1e-9)


def test_widths_below_sigma_raise_errors():
    with pytest.raises(
        ValueError, match=r"must be above one, got \[1.0\]: make `sigma` smaller"
    ):
        GaussianSum(np.array([1.0]), np.array([1.0]))


def test_energies_are_proportional_to_the_constant_of_the_kernel(structure):
    q, r = structure()
    ratio = compiled_energy(q, r, kernel=Coulomb(2.0)) / compiled_energy(q, r)
    np.testing.assert_allclose(ratio, 2.0 / COULOMB_CONSTANT)
