"""What derivatives must be: right, finite, trainable and within their own graph."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.test_util import check_grads

from .._potential import Potential
from ._samples import (
    batch_of,
    close,
    full_stress,
    moved,
    predict,
    sample_structure,
)


def check_forces_and_stress(potential: Potential) -> None:
    """Forces and stress are slopes of the energy, found by finite differences."""
    s = sample_structure(potential, 9)
    cell = np.asarray(s.cell)
    out, rng = predict(potential, s), np.random.default_rng(0)
    h = 1e-5 * potential.backbone.cutoff
    energy = lambda positions, cell: float(
        predict(potential, moved(s, positions, cell)).energy[0]
    )
    direction = rng.normal(size=s.positions.shape)
    ahead = energy(s.positions + h * direction, cell)
    behind = energy(s.positions - h * direction, cell)
    # The error of a central difference: h² times a third derivative, and rounding / h.
    room = 1e-6 * max(1.0, np.abs(out.forces).max())
    work = -np.sum(out.forces[0] * direction)
    close((ahead - behind) / (2 * h), work, room, "forces against finite differences")
    close(out.forces[0].sum(0), np.zeros(3), room, "the sum of all forces")

    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    bent = lambda t: np.eye(3) + t * strain
    stretched = lambda t: energy(s.positions @ bent(t), cell @ bent(t))
    slope = (stretched(1e-5) - stretched(-1e-5)) / 2e-5
    work = np.sum(full_stress(out) * strain) * abs(np.linalg.det(cell))
    room = 1e-6 * max(1.0, abs(work))
    close(slope, work, room, "stress against finite differences")


def check_second_derivatives(potential: Potential) -> None:
    """Forces can be trained on: second derivatives in reverse mode are right."""
    batch = batch_of(potential, sample_structure(potential, 10))

    @jax.jit
    def value(positions):
        at = eqx.tree_at(lambda b: b.positions, batch, positions)
        energies, charges = potential.energies(at)
        return jnp.sum(energies) + jnp.sum(charges**2)

    check_grads(value, (batch.positions,), 2, ["rev"], atol=1e-4, rtol=1e-4)


def check_graphs_are_independent(potential: Potential) -> None:
    """The energy of one structure does not feel the atoms of another in its batch."""
    batch = batch_of(
        potential, sample_structure(potential, 11), sample_structure(potential, 12)
    )

    @jax.jit
    @jax.grad
    def slope(positions):
        at = eqx.tree_at(lambda b: b.positions, batch, positions)
        return jnp.sum(potential.energies(at)[0][0])

    found = np.asarray(slope(batch.positions))
    assert np.all(found[1] == 0), "The energy of a graph depends on another graph."
    assert np.any(found[0] != 0), "The energy of a graph depends on none of its atoms."


def check_every_leaf_learns(potential: Potential) -> None:
    """Every parameter has a finite gradient that is not zero, after a small push."""
    leaves, tree = jax.tree.flatten(potential)
    keys = jr.split(jr.key(0), len(leaves))
    pushed = [
        x + 0.01 * jr.normal(k, x.shape, x.dtype) if eqx.is_inexact_array(x) else x
        for x, k in zip(leaves, keys, strict=True)
    ]
    batch = batch_of(
        potential, sample_structure(potential, 13), sample_structure(potential, 14)
    )

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(potential):
        out = potential(batch)
        return (
            jnp.sum(out.forces**2) + jnp.sum(out.energies**2) + jnp.sum(out.charges**2)
        )

    found = slope(jax.tree.unflatten(tree, pushed))
    for path, leaf in jax.tree.leaves_with_path(found):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), f"The gradient of {name} is not finite."
        if leaf.ndim > 0:
            assert np.any(leaf != 0), (
                f"The gradient of {name} is zero: it never learns."
            )
