"""The layer with induced dipoles: gradients, initial parameters and its solver."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_celli import ChargeEquilibration, PolarizableChargeEquilibration

CHANNELS = 5


@eqx.filter_jit
def make_layer(**options):
    base = ChargeEquilibration(
        CHANNELS, hidden=(8,), solver="dense", key=jr.key(1), **options
    )
    return PolarizableChargeEquilibration(base)


def evaluate_batch(layer, batch):
    return jax.vmap(lambda graph: layer(**graph, spin=None))(batch)


def test_every_parameter_has_a_gradient_from_forces(batch, perturbed):
    layer = perturbed(make_layer(energy="total"))
    # Padding has coincident atoms.
    positions = batch["positions"].copy()
    positions[1, 4:], positions[2] = positions[1, 0], 0.0
    batch = batch | {"positions": positions, "cell": None}

    def loss(layer, positions):
        def total(positions):
            results = evaluate_batch(layer, batch | {"positions": positions})
            return jnp.sum(results[1]), results

        forces, results = jax.grad(total, has_aux=True)(positions)
        return jnp.sum(forces**2) + jnp.sum(results[0] ** 2), results

    derivatives = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    gradients, results = jax.device_get(derivatives(layer, positions))
    for path, leaf in jax.tree.leaves_with_path(gradients[0]):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0), path
    assert np.all(np.isfinite(gradients[1]))
    assert not np.any(gradients[1][~batch["mask"]])
    _, _, charges = results
    np.testing.assert_allclose(charges.sum(axis=1), batch["total_charge"], atol=1e-12)
    for result in results:
        assert not np.any(result[~batch["mask"]])


def test_forces_and_stress_to_second_order(batch, check_derivatives, perturbed, select):
    layer = perturbed(make_layer(tolerance=1e-3))
    graph = select(batch, 0)
    plan = layer.plan(*(batch[k][0] for k in ("cell", "positions", "mask")))

    def value(positions, strain, raw):
        deformation = jnp.eye(3) + 1e-3 * strain
        strained = {
            "positions": positions @ deformation,
            "cell": graph["cell"] @ deformation,
        }
        changed = eqx.tree_at(lambda layer: layer.raw_polarizability, layer, raw)
        _, energies, charges = changed(**(graph | strained), plan=plan)
        return jnp.sum(energies) + jnp.sum(charges**3)

    raw = layer.raw_polarizability
    gradients = check_derivatives(value, graph["positions"], np.zeros((3, 3)), raw)
    contained = np.isin(np.arange(len(raw)), graph["species"])
    assert np.all((gradients[2] != 0) == contained)


def test_initial_polarizability_and_charges(batch, select):
    layer = make_layer()
    carbon = jnp.array([6])
    np.testing.assert_allclose(layer.polarizability(carbon), 4 * 0.76**3, rtol=1e-6)
    gaussian = 6 * math.sqrt(math.pi) * 0.76**3
    expected = 1 / (1 / (4 * 0.76**3) + 1 / gaussian)
    np.testing.assert_allclose(layer.full_polarizability(carbon), expected, rtol=1e-6)
    graph = select(batch | {"cell": None}, 0)
    both = eqx.filter_jit(
        lambda layer, graph: (layer.charges_and_dipoles(**graph), layer(**graph))
    )
    (charges, dipoles), results = jax.device_get(both(layer, graph))
    np.testing.assert_allclose(results[2], charges, rtol=1e-12)
    assert not np.any(results[0])
    assert np.all(np.any(dipoles != 0, axis=1))


def test_solvers_other_than_dense_raise():
    with pytest.raises(ValueError, match="need a layer with a dense solver"):
        PolarizableChargeEquilibration(ChargeEquilibration(CHANNELS, key=jr.key(0)))
