"""Small structures, and predictions of them that share one compiled shape."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._packing import PaddedSizes, pack
from .._potential import Potential, Prediction
from .._structure import Structure

SAMPLE_SIZES = PaddedSizes(graphs=2, slots=10, edges=192, triplets=2048)
"""One padded shape for every structure of the checks."""


def sample_structure(
    potential: Potential,
    seed: int = 0,
    *,
    atoms: int = 5,
    periodic: bool = True,
    box: float = 2.0,
) -> Structure:
    """Atoms on a distorted lattice, none close to another; a triclinic cell.

    Args:
        potential: gives the elements, and the cutoff as unit of length.
        seed: of positions and elements; odd ones carry a charge of 1 e.
        atoms: at most 27.
        periodic: with a cell.
        box: edge of the cell in cutoffs.
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
    """The padded batch of some structures in the precision of the potential."""
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
    """What the potential says of structures in one batch, without padding rows.

    Raises:
        ValueError: the potential is not in float64.
    """
    if potential.scale.dtype != jnp.float64:
        raise ValueError(
            "The checks compare digits that float32 does not have: build the potential "
            f"under `jax.enable_x64(True)`; its scale is {potential.scale.dtype}."
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
    """The compiled potential."""
    return potential(batch)


def moved(structure: Structure, positions, cell=None) -> Structure:
    """The structure with other positions and, if given, another cell."""
    cell = structure.cell if cell is None else cell
    return dataclasses.replace(structure, positions=positions, cell=cell)


def close(found, expected, tolerance, what: str) -> None:
    """Raises AssertionError if arrays differ by more than tolerance (1 + value)."""
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=tolerance, err_msg=what
    )


def full_stress(prediction: Prediction) -> np.ndarray:
    """The first structure's stress as a symmetric matrix."""
    voigt = np.asarray(prediction.stress)[0]
    return voigt[np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]


def any_rotation(seed: int = 0) -> np.ndarray:
    """An improper rotation: a rotation and the inversion."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return -np.linalg.det(q) * q
