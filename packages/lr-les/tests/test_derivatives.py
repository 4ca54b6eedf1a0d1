"""Forces, stress and their derivatives; smoothness when the cell breathes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from lr_les import COULOMB_CONSTANT, energy, k_grid, mesh

OPEN_AND_PERIODIC = pytest.mark.parametrize(
    "cell", ["open", "triclinic"], indirect=True
)


@OPEN_AND_PERIODIC
def test_derivatives_to_second_order(structure, cell):
    q, r = structure(4)
    grid = None if cell is None else k_grid(cell, tolerance=1e-4, margin=0.1)

    @jax.jit
    def value(q, r, sigma, strain):
        deform = jnp.eye(3) + strain
        lattice = None if cell is None else cell @ deform
        energies = energy(
            q, r @ deform, lattice, sigma=sigma, grid=grid, neutralize=True
        )
        return jnp.sum(energies * jnp.arange(1.0, 5.0))

    arguments = q, r, jnp.array(1.2), jnp.full((3, 3), 0.01)
    modes = ["fwd", "rev"] if cell is None else ["rev"]
    check_grads(value, arguments, order=2, modes=modes, atol=1e-4, rtol=1e-4)


@OPEN_AND_PERIODIC
def test_derivatives_at_coincident_atoms(structure, cell):
    q, r = structure(5)
    r = r.at[1].set(r[0]).at[3:].set(r[0])
    mask = jnp.arange(5) < 3
    grid = None if cell is None else k_grid(cell, tolerance=1e-2)

    @jax.jit
    def value(q, r):
        return jnp.sum(energy(q, r, cell, grid=grid, mask=mask) ** 2)

    check_grads(value, (q, r), order=2, modes=["rev"], atol=1e-4, rtol=1e-4)
    penalty = lambda q, r: jnp.sum(jax.grad(value, argnums=1)(q, r) ** 2)
    for gradient in jax.jit(jax.grad(penalty, argnums=(0, 1)))(q, r):
        assert jnp.all(jnp.isfinite(gradient)) and jnp.all(gradient[3:] == 0)


def test_stress_is_the_strain_derivative_and_symmetric(structure, periodic):
    q, r = structure()
    grid = k_grid(periodic, margin=0.01)

    @jax.jit
    def total(strain):
        deform = jnp.eye(3) + strain
        return jnp.sum(energy(q, r @ deform, periodic @ deform, grid=grid))

    found = jax.jit(jax.grad(total))(jnp.zeros((3, 3)))
    np.testing.assert_allclose(found, found.T, atol=1e-12 * jnp.max(jnp.abs(found)))
    step, steps = 1e-4, jnp.eye(9).reshape(3, 3, 3, 3)
    for i, j in np.ndindex(3, 3):
        ends = [total(s * step * steps[i, j]) for s in (-1, 1)]
        assert abs((ends[1] - ends[0]) / (2 * step) - found[i, j]) < 1e-5


@pytest.fixture
def breathing(structure):
    """Largest error of the trapezoid rule along 500 steps of 0.002 Å, relative."""
    q, r = structure(8, channels=1)
    q = q - q.mean()
    lengths = 9.0 + 0.002 * jnp.arange(501.0)

    def jump(grid):
        def total(length):
            return jnp.sum(energy(q, r * length / 9, length * jnp.eye(3), grid=grid))

        slopes = jax.value_and_grad(total)
        values, slopes = jax.jit(lambda: jax.lax.map(slopes, lengths, batch_size=50))()
        rule = 0.001 * (slopes[1:] + slopes[:-1])
        # The energy crosses zero on the way: then that of each charge with itself.
        self_energy = COULOMB_CONSTANT * jnp.sum(q**2) / math.sqrt(2 * math.pi)
        scale = jnp.maximum(jnp.abs(values[1:]), 1e-2 * self_energy)
        return jnp.max(jnp.abs(values[1:] - values[:-1] - rule) / scale)

    return jump


CELL = 9 * np.eye(3)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_energy_is_smooth_when_the_cell_breathes(breathing, tolerance):
    assert breathing(k_grid(CELL, tolerance=tolerance, margin=0.12)) < 1e-7


def test_mesh_energy_is_smooth_when_the_cell_breathes(breathing):
    assert breathing(mesh(CELL, margin=0.12)) < 1e-7


def test_published_cut_jumps_when_the_cell_breathes(breathing):
    assert breathing(k_grid(CELL, dl=2.0, margin=0.12)) > 1e-4


def test_two_grids_of_one_cell_agree(structure, evaluate, triclinic):
    q, r = structure()
    far = k_grid(triclinic, margin=0.2)
    near = k_grid(triclinic)
    assert far.index_pairs.shape[0] > near.index_pairs.shape[0]
    np.testing.assert_allclose(
        evaluate(q, r, triclinic, grid=far),
        evaluate(q, r, triclinic, grid=near),
        rtol=1e-12,
    )
