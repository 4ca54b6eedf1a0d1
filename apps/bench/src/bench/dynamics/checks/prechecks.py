"""Checks of a potential before a simulation."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import ase
import equinox as eqx
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from backbones import Potential, Structure, pack
from jaxtyping import Float

# Root mean square displacement of a coordinate for finite differences, Å.
_STEP = 0.003
_DISTANCES = 24
_MAX_ELEMENTS = 4
# Distances relative to the cutoff at which forces are compared, Å.
_CUTOFF_OFFSETS = np.array([-0.02, -0.01, 0.01, 0.02])


class Precheck(NamedTuple):
    """Result of one check of a potential."""

    name: str
    passed: bool
    value: float
    """What was measured; see `detail` for its meaning and unit."""
    detail: str


EnergyAndForces = Callable[[ase.Atoms], tuple[float, np.ndarray]]
"""Returns energy (eV) and forces (eV/Å)."""


def check_forces(
    evaluate: EnergyAndForces, atoms: ase.Atoms, seed: int = 0
) -> list[Precheck]:
    """Checks that forces are the negative energy gradient and that their sum is zero.

    Gradients are central differences along three random directions. Deviations are
    relative to the root mean square force component.

    Args:
        evaluate: the potential.
        atoms: structure at which forces are compared.
        seed: random seed of the directions.
    """
    _, forces = evaluate(atoms)
    scale = max(float(np.sqrt(np.mean(forces**2))), 1e-3)
    rng = np.random.default_rng(seed)
    largest = 0.0
    for _ in range(3):
        direction = rng.normal(size=forces.shape)
        energies = []
        for sign in (1, -1):
            displaced = atoms.copy()
            displaced.positions = displaced.positions + sign * _STEP * direction
            energies.append(evaluate(displaced)[0])
        slope = (energies[0] - energies[1]) / (2 * _STEP)
        deviation = abs(slope + np.sum(forces * direction)) / np.linalg.norm(direction)
        largest = max(largest, float(deviation / scale))
    net = float(np.abs(forces.sum(0)).max()) / (scale * len(atoms))
    return [
        Precheck(
            "forces",
            largest < 0.02,
            largest,
            "deviation from finite differences, relative to the mean force",
        ),
        Precheck("net force", net < 1e-4, net, "per atom, relative to the mean force"),
    ]


class Dimers(NamedTuple):
    """Energies and forces of pairs of atoms against their distance."""

    pairs: list[tuple[int, int]]
    """Atomic numbers."""
    distances: Float[np.ndarray, "pairs points"]
    """Å; the last four are close to the cutoff."""
    energies: Float[np.ndarray, "pairs points"]
    """eV."""
    forces: Float[np.ndarray, "pairs points"]
    """Force on the second atom, positive for repulsion, eV/Å."""


def scan_dimers(potential: Potential, numbers: np.ndarray) -> Dimers:
    """Evaluates pairs of the most frequent elements up to the cutoff.

    The shortest distance is half the sum of the covalent radii.

    Args:
        potential: a trained model.
        numbers: atomic numbers of a structure.
    """
    elements, counts = np.unique(numbers, return_counts=True)
    frequent = sorted(elements[np.argsort(-counts, kind="stable")][:_MAX_ELEMENTS])
    pairs = [
        (int(a), int(b))
        for a, b in itertools.combinations_with_replacement(frequent, 2)
    ]
    cutoff = potential.backbone.cutoff
    radii = [covalent_radii[a] + covalent_radii[b] for a, b in pairs]
    inner = [np.linspace(0.5 * r, 0.95 * cutoff, _DISTANCES) for r in radii]
    distances = np.stack([np.concatenate([r, cutoff + _CUTOFF_OFFSETS]) for r in inner])
    structures = [
        Structure(np.array(pair), np.array([[0.0, 0, 0], [r, 0, 0]]))
        for pair, row in zip(pairs, distances, strict=True)
        for r in row
    ]
    (bucket,) = pack(
        structures,
        cutoff=cutoff,
        graphs=len(structures),
        plan_for=potential.backbone.plan_for,
        triplets=potential.backbone.needs_triplets,
        dtype=np.dtype(potential.scale.dtype),
    )
    order = np.argsort(bucket.members)
    out = eqx.filter_jit(lambda model, batch: model(batch))(
        potential, bucket.batch(range(len(structures)))
    )
    energies = np.asarray(out.energy, np.float64)[order]
    forces = np.asarray(out.forces, np.float64)[order, 1, 0]
    shape = distances.shape
    return Dimers(pairs, distances, energies.reshape(shape), forces.reshape(shape))


def check_dimers(dimers: Dimers) -> list[Precheck]:
    """Checks that forces are continuous at the cutoff and that close atoms repel.

    Models of condensed matter are not trained on dimers. Attraction at half a bond
    length therefore is a warning of missing repulsion, not a proof.

    Args:
        dimers: result of `scan_dimers`.
    """
    forces = dimers.forces[:, -len(_CUTOFF_OFFSETS) :]
    across = np.abs(forces[:, 2] - forces[:, 1])
    same_side = np.abs(forces[:, 1] - forces[:, 0]) + np.abs(
        forces[:, 3] - forces[:, 2]
    )
    # A smooth force changes as much across the cutoff as on either side of it.
    jump = float(np.max(across - 4 * same_side))
    closest = dimers.forces[:, 0]
    attracting = [
        "-".join(chemical_symbols[z] for z in pair)
        for pair, force in zip(dimers.pairs, closest, strict=True)
        if force < 0
    ]
    names = ", ".join(attracting) or "none"
    return [
        Precheck(
            "cutoff",
            jump < 1e-3,
            max(jump, 0.0),
            "jump of a dimer's force at the cutoff, eV/Å",
        ),
        Precheck(
            "dimers",
            not attracting,
            float(len(attracting)),
            f"pairs that attract at half a bond length: {names}",
        ),
    ]
