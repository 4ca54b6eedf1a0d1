"""Induced charges and dipoles, without self-consistency."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from lr_les import COULOMB_CONSTANT, ChargeSystem, KGrid, Multipoles, energy


@jax.jit
def induction(charges, r, cell=None, *, kappa, alpha, **options):
    return ChargeSystem(charges, r, cell, **options).induction(kappa, alpha)


@pytest.fixture
def system():
    rng = np.random.default_rng(2)
    q, r, u = (jnp.asarray(rng.normal(size=s)) for s in ((5,), (5, 3), (5, 3)))
    kappa, alpha = (jnp.asarray(rng.uniform(0.01, 0.03, 5)) for _ in range(2))
    return q, 3 * r, u, kappa, alpha


def test_a_distant_charge_polarizes_an_atom():
    """Closed forms: -alpha F^2/2, alpha F and -kappa Phi with Phi = k_e q/r."""
    q, r = jnp.array([0.0, 2.0]), jnp.array([[0.0, 0, 0], [0, 0, 9.0]])
    kappa, alpha = jnp.array([0.02, 0.0]), jnp.array([0.3, 0.0])
    energies, charges, dipoles = induction(q, r, kappa=kappa, alpha=alpha)
    potential, field = COULOMB_CONSTANT * 2 / 9, COULOMB_CONSTANT * 2 / 81
    expected = -0.02 * potential**2 / 2 - 0.3 * field**2 / 2
    np.testing.assert_allclose(energies, [expected, 0.0], rtol=1e-8)
    np.testing.assert_allclose(charges, [-0.02 * potential, 0.0], rtol=1e-8)
    np.testing.assert_allclose(dipoles[0], [0, 0, -0.3 * field], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_induction_minimizes_the_energy_over_induced_moments(system, cell):
    """E_ind = min over x of x . dE + x^2/(2 response): first order in the coupling."""
    q, r, u, kappa, alpha = system
    plan = KGrid.for_structures(cell, r, power=2)
    energies, charges, dipoles = induction(
        Multipoles(q, u), r, cell, kappa=kappa, alpha=alpha, plan=plan
    )

    def permanent(dq, du):
        return jnp.sum(energy(Multipoles(q + dq, u + du), r, cell, plan=plan))

    slopes = jax.jit(jax.grad(permanent, (0, 1)))(jnp.zeros_like(q), jnp.zeros_like(u))
    charges, dipoles, kappa, alpha = map(np.asarray, (charges, dipoles, kappa, alpha))
    by_charge, by_dipole = map(np.asarray, slopes)
    np.testing.assert_allclose(charges, -kappa * by_charge, rtol=1e-9)
    np.testing.assert_allclose(dipoles, -alpha[:, None] * by_dipole, rtol=1e-9)
    coupling = charges * by_charge + np.sum(dipoles * by_dipole, axis=1)
    cost = charges**2 / (2 * kappa) + np.sum(dipoles**2, 1) / (2 * alpha)
    np.testing.assert_allclose(energies, coupling + cost, rtol=1e-9)


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_derivatives_channels_and_padding(system, cell):
    q, r, u, kappa, alpha = system
    plan = KGrid.for_structures(cell, r, tolerance=1e-2, power=2)
    mask = jnp.arange(5) < 3
    both = jnp.stack([q, jnp.roll(q, 1)], axis=1)

    @jax.jit
    def induced(q, r, kappa, alpha):
        return induction(q, r, cell, kappa=kappa, alpha=alpha, plan=plan, mask=mask)

    energies, charges, dipoles = induced(both, r.at[3].set(r[0]), kappa, alpha)
    assert charges.shape == (5, 2) and dipoles.shape == (5, 2, 3)
    assert not any(jnp.any(x[3:]) for x in (energies, charges, dipoles))
    by_channel = [
        induction(
            both[:3, c], r[:3], cell, kappa=kappa[:3], alpha=alpha[:3], plan=plan
        )[0]
        for c in range(2)
    ]
    np.testing.assert_allclose(energies[:3], by_channel[0] + by_channel[1], rtol=1e-9)
    value = lambda *a: jnp.sum(induced(*a)[0])
    check_grads(value, (both, r, kappa, alpha), 2, ["rev"], atol=1e-4, rtol=1e-4)
    slopes = jax.jit(jax.grad(value, (2, 3)))(both, r, kappa, alpha)
    assert all(jnp.all(slope[:3] < 0) for slope in slopes)


@pytest.mark.usefixtures("untyped")
def test_responses_of_wrong_shape_raise_errors(system):
    q, r, _, kappa, alpha = system
    for name, wrong in (("charge_response", kappa[:3]), ("polarizability", alpha[0])):
        responses = {"charge_response": kappa, "polarizability": alpha, name: wrong}
        with pytest.raises(ValueError, match=f"`{name}` is one number .*\\[5\\], got"):
            ChargeSystem(q, r).induction(**responses)
