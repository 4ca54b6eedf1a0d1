"""The energy function for molecular dynamics against the potential."""

import backbones as bb
import jax
import jax.numpy as jnp
import numpy as np
import pytest

close = lambda a, b, tol=1e-9: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize(
    ("kind", "periodic"),
    [(bb.MACE, True), (bb.MACE, False), (bb.Allegro, True), (bb.DimeNet, True)],
)
def test_energy_function_agrees_with_the_potential_for_any_order_of_edges(
    kind, periodic, model, structure, predict
):
    potential, s = model(kind), structure(1, periodic=periodic)
    out = predict(potential, s)
    # A neighbor list with a skin, shuffled and padded as in molecular dynamics.
    pairs = bb.neighbors(s.positions, s.cell, 5.0)
    order = np.random.default_rng(0).permutation(len(pairs) + 9)
    pad = lambda x, value: np.concatenate([x, np.full((9, *x.shape[1:]), value)])[order]
    edges = [jnp.asarray(pad(x, len(s))) for x in (pairs.senders, pairs.receivers)]
    shifts = jnp.asarray(pad(pairs.shifts, 0))
    energy = bb.energy_function(
        potential, s.numbers, total_charge=s.total_charge, triplets=4096
    )
    box = None if s.cell is None else jnp.asarray(s.cell)
    value_and_grad = jax.jit(jax.value_and_grad(energy))
    value, gradient = value_and_grad(jnp.asarray(s.positions), *edges, shifts, box)
    close(value, out.energy[0])
    close(-gradient, out.forces[0])


def test_energy_function_checks_its_arguments(model):
    with pytest.raises(ValueError, match="DimeNet needs triplets"):
        bb.energy_function(model(bb.DimeNet), np.array([1]), total_charge=0.0)
    with pytest.raises(ValueError, match="does not support Cu"):
        bb.energy_function(model(), np.array([29]), total_charge=0.0)
