"""Forces and their derivatives, to second order and at coincident atoms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from lr_efa import OpenPlan, ShellGrid, attend, frequency_grid, lebedev_grid

OMEGAS = frequency_grid(2, 0.9)
# A coarse grid: derivatives are compared with those of the same sum.
COARSE = OpenPlan(lebedev_grid(5.0, 1e-2, degree=2), OMEGAS[-1])
METHODS = pytest.mark.parametrize("method", ["exact", "quadrature"])


@METHODS
def test_derivatives_to_second_order(structure, method):
    q, k, v, r = structure(4, qk=4, sph=4)

    @jax.jit
    def value(q, k, v, r):
        attended = attend(
            q, k, v, r, frequencies=OMEGAS, degree=1, method=method, plan=COARSE
        )
        return jnp.sum(jnp.sin(attended))

    check_grads(value, (q, k, v, r), order=2, modes=["rev"], atol=1e-4, rtol=1e-4)


@METHODS
def test_forward_derivatives_of_gradients(structure, method):
    q, k, v, r = structure(4, qk=4)

    @jax.jit
    def value(r):
        return jnp.sum(
            attend(q, k, v, r, frequencies=OMEGAS, method=method, plan=COARSE) ** 2
        )

    check_grads(value, (r,), order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4)


@METHODS
def test_forces_are_finite_and_zero_on_padding(structure, method):
    q, k, v, r = structure(6, qk=4)
    r = r.at[1].set(r[0]).at[3:].set(r[0])
    mask = jnp.arange(6) < 3

    def value(q, k, v, r):
        attended = attend(
            q, k, v, r, frequencies=OMEGAS, mask=mask, method=method, plan=COARSE
        )
        return jnp.sum(attended**2)

    @jax.jit
    def both(*arrays):
        forces = jax.grad(value, argnums=3)
        penalty = lambda *arrays: jnp.sum(forces(*arrays) ** 2)
        return forces(*arrays), jax.grad(penalty, argnums=(0, 1, 2, 3))(*arrays)

    forces, second = both(q, k, v, r)
    forces = np.asarray(forces)
    assert np.all(np.isfinite(forces)) and np.all(forces[3:] == 0)
    assert np.max(np.abs(np.sum(forces, axis=0))) < 1e-10
    for gradient in map(np.asarray, second):
        assert np.all(np.isfinite(gradient)) and np.all(gradient[3:] == 0)
    check_grads(jax.jit(value), (q, k, v, r), 2, modes=["rev"], atol=1e-4, rtol=1e-4)


def test_derivatives_of_directional_attention_at_coincident_atoms(structure):
    q, k, v, r = structure(3, qk=4, sph=1)
    r = r.at[1].set(r[0])

    @jax.jit
    def value(r):
        attended = attend(q, k, v, r, frequencies=OMEGAS, degree=2, method="exact")
        return jnp.sum(jnp.sin(attended))

    check_grads(value, (r,), order=2, modes=["rev"], atol=1e-4, rtol=1e-4)


def test_derivatives_in_a_crystal_with_strain(structure, triclinic):
    # One frequency and one band of vectors, for a short compilation.
    omegas = OMEGAS[1:]
    q, k, v, r = structure(4, qk=2, sph=1)
    r = r.at[1].set(r[0])
    plan = ShellGrid.for_structures(
        triclinic, r, frequencies=omegas, shell_thickness=0.1, margin=0.1
    )

    @jax.jit
    def value(q, v, r, strain):
        deformation = jnp.eye(3) + strain
        attended = attend(
            q,
            k,
            v,
            r @ deformation,
            triclinic @ deformation,
            frequencies=omegas,
            degree=1,
            shell_thickness=0.1,
            plan=plan,
            normalize=True,
        )
        return jnp.sum(jnp.sin(attended))

    arguments = q, v, r, jnp.full((3, 3), 0.01)
    check_grads(value, arguments, order=2, modes=["rev"], atol=1e-4, rtol=1e-4)
