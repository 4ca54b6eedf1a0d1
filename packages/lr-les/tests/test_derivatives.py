"""Forces, stress and their derivatives; smoothness as a function of the cell."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from lr_les import COULOMB_CONSTANT, KGrid, Mesh, energy

OPEN_AND_PERIODIC = pytest.mark.parametrize(
    "cell", ["open", "triclinic"], indirect=True
)


@OPEN_AND_PERIODIC
def test_derivatives_to_second_order(structure, cell):
    q, r = structure(4)
    plan = KGrid.for_structures(cell, r, tolerance=1e-4, margin=0.1)

    @jax.jit
    def value(q, r, sigma, strain):
        deform = jnp.eye(3) + strain
        lattice = None if cell is None else cell @ deform
        energies = energy(
            q, r @ deform, lattice, sigma=sigma, plan=plan, neutralize=True
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
    plan = KGrid.for_structures(cell, r, tolerance=1e-2)

    @jax.jit
    def value(q, r):
        return jnp.sum(energy(q, r, cell, plan=plan, mask=mask) ** 2)

    check_grads(value, (q, r), order=2, modes=["rev"], atol=1e-4, rtol=1e-4)
    penalty = lambda q, r: jnp.sum(jax.grad(value, argnums=1)(q, r) ** 2)
    for gradient in jax.jit(jax.grad(penalty, argnums=(0, 1)))(q, r):
        assert jnp.all(jnp.isfinite(gradient)) and jnp.all(gradient[3:] == 0)


def test_stress_is_the_strain_derivative_and_symmetric(structure, periodic):
    q, r = structure()
    plan = KGrid.for_structures(periodic, r, margin=0.01)

    @jax.jit
    def total(strain):
        deform = jnp.eye(3) + strain
        return jnp.sum(energy(q, r @ deform, periodic @ deform, plan=plan))

    stress = np.asarray(jax.jit(jax.grad(total))(jnp.zeros((3, 3))))
    np.testing.assert_allclose(stress, stress.T, atol=1e-12 * np.max(np.abs(stress)))
    step, units = 1e-4, np.eye(9).reshape(3, 3, 3, 3)
    for i, j in np.ndindex(3, 3):
        ends = [float(total(s * step * units[i, j])) for s in (-1, 1)]
        assert abs((ends[1] - ends[0]) / (2 * step) - stress[i, j]) < 1e-5


@pytest.fixture
def error_along_expansion(structure):
    """Largest error of the trapezoid rule along 500 steps of 0.002 Å, relative."""
    q, r = map(np.asarray, structure(8, channels=1))
    q = q - q.mean()
    lengths = 9.0 + 0.002 * np.arange(501.0)

    def largest_error(plan):
        def total(length):
            positions, cell = jnp.asarray(r) * length / 9, length * jnp.eye(3)
            return jnp.sum(energy(jnp.asarray(q), positions, cell, plan=plan))

        both = jax.value_and_grad(total)
        mapped = jax.jit(lambda lengths: jax.lax.map(both, lengths, batch_size=50))
        values, slopes = map(np.asarray, mapped(lengths))
        rule = 0.001 * (slopes[1:] + slopes[:-1])
        # The energy passes through zero; errors are then relative to the self energy.
        self_energy = COULOMB_CONSTANT * np.sum(q**2) / math.sqrt(2 * math.pi)
        scale = np.maximum(np.abs(values[1:]), 1e-2 * self_energy)
        return np.max(np.abs(values[1:] - values[:-1] - rule) / scale)

    return largest_error


CELL, ATOMS = 9 * np.eye(3), np.zeros((8, 3))


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_energy_is_a_smooth_function_of_the_cell(error_along_expansion, tolerance):
    plan = KGrid.for_structures(CELL, ATOMS, tolerance=tolerance, margin=0.12)
    assert error_along_expansion(plan) < 1e-7


def test_energy_on_a_mesh_is_a_smooth_function_of_the_cell(error_along_expansion):
    assert error_along_expansion(Mesh.for_structures(CELL, ATOMS, margin=0.12)) < 1e-7


def test_energy_jumps_with_the_published_sharp_cutoff(error_along_expansion):
    plan = KGrid.for_structures(CELL, ATOMS, dl=2.0, margin=0.12)
    assert error_along_expansion(plan) > 1e-4


def test_two_grids_of_one_cell_agree(structure, evaluate, triclinic):
    q, r = structure()
    large = KGrid.for_structures(triclinic, r, margin=0.2)
    small = KGrid.for_structures(triclinic, r)
    assert large.index_pairs.shape[0] > small.index_pairs.shape[0]
    np.testing.assert_allclose(
        evaluate(q, r, triclinic, plan=large),
        evaluate(q, r, triclinic, plan=small),
        rtol=1e-12,
    )
