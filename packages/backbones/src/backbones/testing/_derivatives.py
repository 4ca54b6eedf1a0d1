"""Checks of derivatives: forces, stress, second derivatives and gradients."""

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
    """Checks forces and stress against finite differences of the energy.

    Args:
        potential: in float64.
    """
    s = sample_structure(potential, 9)
    cell = np.asarray(s.cell)
    out, rng = predict(potential, s), np.random.default_rng(0)
    h = 1e-5 * potential.backbone.cutoff
    energy = lambda positions, cell: float(
        predict(potential, moved(s, positions, cell)).energy[0]
    )
    direction = rng.normal(size=s.positions.shape)
    forward = energy(s.positions + h * direction, cell)
    backward = energy(s.positions - h * direction, cell)
    # Error of a central difference: h² times a third derivative, plus rounding / h.
    tolerance = 1e-6 * max(1.0, np.abs(out.forces).max())
    work = -np.sum(out.forces[0] * direction)
    difference = (forward - backward) / (2 * h)
    close(difference, work, tolerance, "forces against finite differences")
    close(out.forces[0].sum(0), np.zeros(3), tolerance, "the sum of all forces")

    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    deformation = lambda t: np.eye(3) + t * strain
    strained = lambda t: energy(s.positions @ deformation(t), cell @ deformation(t))
    difference = (strained(1e-5) - strained(-1e-5)) / 2e-5
    work = np.sum(full_stress(out) * strain) * abs(np.linalg.det(cell))
    tolerance = 1e-6 * max(1.0, abs(work))
    close(difference, work, tolerance, "stress against finite differences")


def check_second_derivatives(potential: Potential) -> None:
    """Checks the derivatives of forces against finite differences.

    Args:
        potential: in float64.
    """
    batch = _training_batch(potential)
    rng = np.random.default_rng(1)
    direction = rng.normal(size=batch.positions.shape) * batch.mask[..., None]
    gradient = _gradients(potential, batch)[1]
    h = 1e-5 * potential.backbone.cutoff
    loss = lambda t: _loss(evaluate(potential, _moved(batch, t * h * direction)), np)
    forward, backward = float(loss(1)), float(loss(-1))
    work = float(np.sum(gradient * direction))
    tolerance = 1e-6 * max(1.0, abs(work), abs(forward))
    difference = (forward - backward) / (2 * h)
    close(difference, work, tolerance, "derivatives of forces")


def check_graphs_are_independent(potential: Potential) -> None:
    """Checks that predictions do not depend on other structures of the batch.

    Args:
        potential: in float64.
    """
    a, b = (sample_structure(potential, seed) for seed in (11, 12))
    other = moved(b, b.positions + np.arange(len(b))[:, None] * 0.01)
    before, after = predict(potential, a, b), predict(potential, a, other)
    assert np.any(before.energies[1] != after.energies[1]), (
        "The other structure did not change."
    )
    for name in ("energies", "forces", "charges"):
        close(
            getattr(after, name)[0],
            getattr(before, name)[0],
            1e-12,
            f"{name} when the other structure of a batch moves",
        )


def check_parameter_gradients(potential: Potential) -> None:
    """Checks that all parameters have finite gradients that are not zero.

    The parameters are perturbed before, because some are zero at the start.

    Args:
        potential: in float64.
    """
    leaves, tree = jax.tree.flatten(potential)
    keys = jr.split(jr.key(0), len(leaves))
    perturbed = [
        x + 0.01 * jr.normal(k, x.shape, x.dtype) if eqx.is_inexact_array(x) else x
        for x, k in zip(leaves, keys, strict=True)
    ]
    potential = jax.tree.unflatten(tree, perturbed)
    gradients = _gradients(potential, _training_batch(potential))[0]
    for path, leaf in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), f"The gradient of {name} is not finite."
        # Scale, shift and the average number of neighbors are constants.
        assert leaf.ndim == 0 or np.any(leaf != 0), f"The gradient of {name} is zero."


def _training_batch(potential: Potential) -> Batch:
    return batch_of(
        potential, sample_structure(potential, 13), sample_structure(potential, 14)
    )


def _loss(out: Prediction, module):
    """Returns a scalar function of all predictions, in numpy or jax.numpy."""
    shape = out.forces.shape
    weight = np.cos(np.arange(np.prod(shape))).reshape(shape)
    return (
        module.sum(weight * out.forces)
        + module.sum(module.sin(out.energies))
        + module.sum(out.charges**2)
    )


def _moved(batch: Batch, step) -> Batch:
    """Returns the batch with displaced atoms."""
    return eqx.tree_at(lambda b: b.positions, batch, batch.positions + step)


@eqx.filter_jit
def _gradients(potential: Potential, batch: Batch):
    """Gradients of the loss with respect to the parameters and the positions."""
    loss = lambda both: _loss(both[0](_moved(batch, both[1])), jnp)
    return eqx.filter_grad(loss)((potential, jnp.zeros_like(batch.positions)))
