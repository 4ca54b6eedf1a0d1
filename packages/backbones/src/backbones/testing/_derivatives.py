"""What derivatives must be: right, finite, trainable and within their own graph."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._batch import Batch
from .._potential import Potential, Prediction
from ._samples import (
    batch_of,
    close,
    evaluate,
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
    """Forces can be trained on: their derivatives are those of finite differences."""
    batch = _training_batch(potential)
    rng = np.random.default_rng(1)
    direction = rng.normal(size=batch.positions.shape) * batch.mask[..., None]
    slope = _slope(potential, batch)[1]
    h = 1e-5 * potential.backbone.cutoff
    at = lambda t: _loss(evaluate(potential, _at(batch, t * h * direction)), np)
    ahead, behind = float(at(1)), float(at(-1))
    work = float(np.sum(slope * direction))
    room = 1e-6 * max(1.0, abs(work), abs(ahead))
    close((ahead - behind) / (2 * h), work, room, "derivatives of forces")


def check_graphs_are_independent(potential: Potential) -> None:
    """One structure does not feel the atoms of another in its batch."""
    a, b = (sample_structure(potential, seed) for seed in (11, 12))
    other = moved(b, b.positions + np.arange(len(b))[:, None] * 0.01)
    before, after = predict(potential, a, b), predict(potential, a, other)
    assert np.any(before.energies[1] != after.energies[1]), "Nothing moved."
    for name in ("energies", "forces", "charges"):
        close(
            getattr(after, name)[0],
            getattr(before, name)[0],
            1e-12,
            f"{name} when the other structure of a batch moves",
        )


def check_every_leaf_learns(potential: Potential) -> None:
    """Every parameter has a finite gradient that is not zero, after a small push."""
    leaves, tree = jax.tree.flatten(potential)
    keys = jr.split(jr.key(0), len(leaves))
    pushed = [
        x + 0.01 * jr.normal(k, x.shape, x.dtype) if eqx.is_inexact_array(x) else x
        for x, k in zip(leaves, keys, strict=True)
    ]
    potential = jax.tree.unflatten(tree, pushed)
    found = _slope(potential, _training_batch(potential))[0]
    for path, leaf in jax.tree.leaves_with_path(found):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), f"The gradient of {name} is not finite."
        # Scale, shift and the number of neighbours are constants.
        assert leaf.ndim == 0 or np.any(leaf != 0), f"The gradient of {name} is zero."


def _training_batch(potential: Potential) -> Batch:
    return batch_of(
        potential, sample_structure(potential, 13), sample_structure(potential, 14)
    )


def _loss(out: Prediction, module):
    """A number that feels all of a prediction, in numpy or in jax.numpy."""
    shape = out.forces.shape
    weight = np.cos(np.arange(np.prod(shape))).reshape(shape)
    return (
        module.sum(weight * out.forces)
        + module.sum(module.sin(out.energies))
        + module.sum(out.charges**2)
    )


def _at(batch: Batch, step) -> Batch:
    return eqx.tree_at(lambda b: b.positions, batch, batch.positions + step)


@eqx.filter_jit
def _slope(potential: Potential, batch: Batch):
    """Gradients of the loss with respect to the parameters and the positions."""
    loss = lambda both: _loss(both[0](_at(batch, both[1])), jnp)
    return eqx.filter_grad(loss)((potential, jnp.zeros_like(batch.positions)))
