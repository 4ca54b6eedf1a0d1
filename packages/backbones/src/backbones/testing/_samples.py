"""Small structures for the checks, and their predictions in one compiled shape."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._make_batch import PaddedSizes
from .._packing import pack
from .._potential import Potential, Prediction
from .._structure import Structure

SAMPLE_SIZES = PaddedSizes(graphs=2, slots=10, edges=192, triplets=2048)
"""Padded sizes of the batches of all checks."""


def sample_structure(
    potential: Potential,
    seed: int = 0,
    *,
    atoms: int = 5,
    periodic: bool = True,
    box: float = 2.0,
) -> Structure:
    """Returns a structure on a distorted lattice, in a triclinic cell if periodic.

    Args:
        potential: its elements are used, and its cutoff is the unit of length.
        seed: of positions and elements; the total charge is 1 e for odd seeds.
        atoms: number of atoms, at most 27.
        periodic: whether there is a cell.
        box: approximate length of the lattice vectors, in cutoffs.
    """
    rng = np.random.default_rng(seed)
    side = box * potential.backbone.cutoff
    grid = rng.permutation(np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3))
    positions = (grid[:atoms] + 0.35 * rng.uniform(size=(atoms, 3))) * side / 3
    cell = side * (np.eye(3) + 0.1 * rng.uniform(-1, 1, (3, 3))) if periodic else None
    numbers = rng.choice(potential.backbone.elements, atoms)
    return Structure(numbers, positions, cell, float(seed % 2))


def batch_of(
    potential: Potential, *structures: Structure, min_sizes: PaddedSizes = SAMPLE_SIZES
):
    """Returns the padded batch of structures, in the precision of the potential.

    Args:
        potential: its backbone makes the plan.
        structures: all open or all periodic.
        min_sizes: smallest sizes of the batch.
    """
    backbone = potential.backbone
    (bucket,) = pack(
        structures,
        cutoff=backbone.cutoff,
        graphs=len(structures),
        plan_for=backbone.plan_for,
        triplets=backbone.needs_triplets,
        min_sizes=min_sizes,
        dtype=potential.scale.dtype,
    )
    return bucket.batch(range(len(structures)))


def predict(potential: Potential, *structures: Structure) -> Prediction:
    """Returns the predictions for structures in one batch, without padding graphs.

    Args:
        potential: in float64.
        structures: all open or all periodic.

    Raises:
        ValueError: the potential is not in float64.
    """
    if potential.scale.dtype != jnp.float64:
        raise ValueError(
            "The checks need float64: build the potential under "
            f"`jax.enable_x64(True)`; its scale is {potential.scale.dtype}."
        )
    out = evaluate(potential, batch_of(potential, *structures))
    graphs, slots = len(structures), max(map(len, structures))
    return Prediction(
        out.energy[:graphs],
        out.energies[:graphs, :slots],
        out.forces[:graphs, :slots],
        None if out.stress is None else out.stress[:graphs],
        out.charges[:graphs, :slots],
    )


@eqx.filter_jit
def evaluate(potential: Potential, batch) -> Prediction:
    """Returns the predictions for a batch, compiled.

    Args:
        potential: of any precision.
        batch: the structures.
    """
    return potential(batch)


def moved(structure: Structure, positions, cell=None) -> Structure:
    """Returns the structure with other positions, and another cell if not None."""
    cell = structure.cell if cell is None else cell
    return dataclasses.replace(structure, positions=positions, cell=cell)


def close(actual, expected, tolerance, name: str) -> None:
    """Raises AssertionError if arrays differ by more than tolerance (1 + value)."""
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance, err_msg=name
    )


def full_stress(prediction: Prediction) -> np.ndarray:
    """Returns the stress of the first structure as a symmetric matrix."""
    voigt = np.asarray(prediction.stress)[0]
    return voigt[np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]


def improper_rotation(seed: int = 0) -> np.ndarray:
    """Returns an improper rotation: a rotation times the inversion."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return -np.linalg.det(q) * q
