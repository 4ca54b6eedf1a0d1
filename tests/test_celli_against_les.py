"""Comparison of the Coulomb sums of charge equilibration and latent Ewald summation."""

import functools as ft
import math

import jax
import jax.numpy as jnp
import lr_celli
import lr_les
import numpy as np
import pytest

CELLS = {
    "open": None,
    "orthorhombic": [[6.0, 0, 0], [0, 7.0, 0], [0, 0, 6.5]],
    "triclinic": [[6.0, 0.3, 0], [1.5, 6.5, 0], [-1.0, 0.8, 7.0]],
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=CELLS)
def cell(request):
    rows = CELLS[request.param]
    return None if rows is None else jnp.asarray(rows)


def structure(atoms=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=atoms), rng.uniform(0, 6, (atoms, 3))


@jax.jit
@ft.partial(jax.value_and_grad, argnums=(0, 1))
def celli_energy(charges, positions, widths, cell, plan):
    matrix = lr_celli.coulomb_matrix(widths, positions, cell, plan=plan)
    return charges @ matrix @ charges / 2


@ft.partial(jax.jit, static_argnames="sigma")
@ft.partial(jax.value_and_grad, argnums=(0, 1))
def les_energy(charges, positions, cell, plan, sigma):
    energies = lr_les.energy(
        charges, positions, cell, sigma=sigma, plan=plan, remove_self=False
    )
    return jnp.sum(energies)


@pytest.mark.parametrize("width", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("total", [0.0, 1.5])
def test_energies_of_equal_widths_agree(cell, width, total):
    """`sigma` of LES is sqrt(2) times the width; both energies include self terms."""
    q, r = structure()
    q = q - q.mean() + total / len(q)
    sigma = math.sqrt(2) * width
    plan = lr_celli.Ewald.for_structures(cell, r, tolerance=1e-11)
    celli = celli_energy(q, r, np.full(len(q), width), cell, plan)
    plan = lr_les.KGrid.for_structures(cell, r, sigma=sigma, tolerance=1e-13)
    les = les_energy(q, r, cell, plan, sigma=sigma)
    scale = lr_celli.COULOMB_CONSTANT * np.sum(q**2)
    for a, b in zip(jax.tree.leaves(celli), jax.tree.leaves(les), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * scale)


def equilibrate(positions, field=(0.0, 0.0, 0.0)):
    """Charges (e) and energy (eV) of charge equilibration in a field (V/Å)."""
    atoms = len(positions)
    rng = np.random.default_rng(1)
    chi, widths = rng.normal(0, 3, atoms), rng.uniform(0.4, 1.2, atoms)
    hardness = jnp.asarray(rng.uniform(8, 15, atoms))
    # Electronegativities depend on the environment, as in a model.
    squared = jnp.sum((positions[:, None] - positions) ** 2, axis=-1)
    chi = chi + jnp.sum(jnp.exp(-squared / 8), axis=1) - positions @ jnp.asarray(field)
    matrix = lr_celli.coulomb_matrix(jnp.asarray(widths), positions)
    q = lr_celli.equilibrate(chi, hardness, matrix, 1.0)
    return q, chi @ q + hardness @ q**2 / 2 + q @ matrix @ q / 2


@jax.jit
def born_charges(positions):
    return lr_les.born_charges(lambda r, cell: equilibrate(r)[0], positions)


def test_born_charges_are_derivatives_of_forces_in_a_field():
    _, r = structure()
    forces = lambda field: -jax.grad(lambda r: equilibrate(r, field)[1])(jnp.asarray(r))
    by_field = np.asarray(jax.jit(jax.jacobian(forces))(np.zeros(3)))
    actual = np.asarray(born_charges(r))
    # Axes are atoms, displacement, field; of Born charges the field comes first.
    np.testing.assert_allclose(actual, np.swapaxes(by_field, 1, 2), atol=1e-9)
    np.testing.assert_allclose(np.sum(actual, axis=0), np.eye(3), atol=1e-9)


def test_born_charges_are_finite_differences_of_the_dipole():
    _, r = structure()
    actual = born_charges(r)
    dipole, h = jax.jit(lambda r: equilibrate(r)[0] @ r), 1e-5
    for j, b in np.ndindex(2, 3):
        step = np.zeros_like(r)
        step[j, b] = h
        slope = (dipole(r + step) - dipole(r - step)) / (2 * h)
        np.testing.assert_allclose(np.asarray(actual)[j, :, b], slope, atol=1e-7)
