"""Charge equilibration and latent Ewald summation test each other's Coulomb sums."""

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
    charges, positions = rng.normal(size=atoms), rng.uniform(0, 6, (atoms, 3))
    return jnp.asarray(charges), jnp.asarray(positions)


@pytest.mark.parametrize("width", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("total", [0.0, 1.5])
def test_equal_widths_have_one_energy(cell, width, total):
    """An interaction is sqrt2 wider than a charge; self energies are kept."""
    q, r = structure()
    q = q - q.mean() + total / len(q)
    sigma = math.sqrt(2) * width
    widths = jnp.full(len(q), width)
    split = None
    if cell is not None:
        split = lr_celli.Ewald.for_cells(cell, tolerance=1e-11)
    grid = None if cell is None else lr_les.k_grid(cell, sigma=sigma, tolerance=1e-13)

    def celli(q, r):
        matrix = lr_celli.coulomb_matrix(r, widths, cell, ewald=split)
        return q @ matrix @ q / 2

    def les(q, r):
        energies = lr_les.energy(q, r, cell, sigma=sigma, grid=grid, remove_self=False)
        return jnp.sum(energies)

    one, two = (jax.jit(jax.value_and_grad(f, (0, 1)))(q, r) for f in (celli, les))
    scale = lr_celli.COULOMB_CONSTANT * jnp.sum(q**2)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * scale)


def equilibrated(r, field=(0.0, 0.0, 0.0)):
    """Charges (e) in a field (V/Å), and all of the equilibration energy (eV)."""
    rng = np.random.default_rng(1)
    chi, widths = rng.normal(0, 3, len(r)), rng.uniform(0.4, 1.2, len(r))
    hardness = jnp.asarray(rng.uniform(8, 15, len(r)))
    # Electronegativities follow the surroundings, as in a model.
    apart = jnp.sum((r[:, None] - r) ** 2, axis=-1)
    chi = chi + jnp.sum(jnp.exp(-apart / 8), axis=1) - r @ jnp.asarray(field)
    matrix = lr_celli.coulomb_matrix(r, jnp.asarray(widths))
    q = lr_celli.equilibrate(chi, hardness, matrix, 1.0)
    return q, chi @ q + hardness @ q**2 / 2 + q @ matrix @ q / 2


def test_born_charges_are_how_forces_follow_a_field():
    _, r = structure()
    force = lambda field: -jax.grad(lambda r: equilibrated(r, field)[1])(r)
    by_field = jax.jit(jax.jacobian(force))(jnp.zeros(3))
    found = lr_les.born_charges(lambda r, cell: equilibrated(r)[0], r)
    # Atoms, displacement, field; Born charges are listed by field first.
    np.testing.assert_allclose(found, jnp.swapaxes(by_field, 1, 2), atol=1e-9)
    np.testing.assert_allclose(jnp.sum(found, axis=0), jnp.eye(3), atol=1e-9)


def test_born_charges_are_differences_of_the_dipole():
    _, r = structure()
    found = lr_les.born_charges(lambda r, cell: equilibrated(r)[0], r)
    dipole, h = jax.jit(lambda r: equilibrated(r)[0] @ r), 1e-5
    for j, b in np.ndindex(2, 3):
        step = jnp.zeros_like(r).at[j, b].set(h)
        slope = (dipole(r + step) - dipole(r - step)) / (2 * h)
        np.testing.assert_allclose(found[j, :, b], slope, atol=1e-7)
