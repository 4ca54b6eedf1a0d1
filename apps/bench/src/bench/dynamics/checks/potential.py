"""What a potential must do before it is worth moving atoms with it."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import ase
import equinox as eqx
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from backbones import Potential, Structure, pack
from jaxtyping import Float

# How far each coordinate is moved for a difference of energies, Å, on average.
_STEP = 0.003
_POINTS = 24
_MOST_ELEMENTS = 4
# Distances about the cutoff at which forces are compared, Å.
_ABOUT = np.array([-0.02, -0.01, 0.01, 0.02])


class Precheck(NamedTuple):
    """A fact about a potential."""

    name: str
    passed: bool
    value: float
    detail: str


EnergyAndForces = Callable[[ase.Atoms], tuple[float, np.ndarray]]
"""eV and eV/Å."""


def force_checks(
    evaluate: EnergyAndForces, atoms: ase.Atoms, seed: int = 0
) -> list[Precheck]:
    """Whether forces are the slope of the energy and their sum is zero.

    Slopes are central differences along three random directions, in units of the root
    mean square of the force components.

    Args:
        evaluate: the potential.
        atoms: where to look.
        seed: of the directions.
    """
    _, forces = evaluate(atoms)
    scale = max(float(np.sqrt(np.mean(forces**2))), 1e-3)
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(3):
        direction = rng.normal(size=forces.shape)
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions = moved.positions + sign * _STEP * direction
            energies.append(evaluate(moved)[0])
        slope = (energies[0] - energies[1]) / (2 * _STEP)
        away = abs(slope + np.sum(forces * direction)) / np.linalg.norm(direction)
        worst = max(worst, float(away / scale))
    net = float(np.abs(forces.sum(0)).max()) / (scale * len(atoms))
    return [
        Precheck(
            "forces",
            worst < 0.02,
            worst,
            "forces against differences of energies, over the mean force",
        ),
        Precheck("net force", net < 1e-4, net, "sum of forces, over atoms and force"),
    ]


class Dimers(NamedTuple):
    """Energies of two atoms at several distances, for several pairs of elements."""

    pairs: list[tuple[int, int]]
    """Atomic numbers."""
    distances: Float[np.ndarray, "pairs points"]
    """Å; the last four lie about the cutoff."""
    energies: Float[np.ndarray, "pairs points"]
    """eV."""
    forces: Float[np.ndarray, "pairs points"]
    """On the second atom, away from the first, eV/Å."""


def scan_dimers(potential: Potential, numbers: np.ndarray) -> Dimers:
    """Pairs of the most frequent elements, from half a bond length to the cutoff.

    Args:
        potential: any.
        numbers: of a structure's atoms.
    """
    found, counts = np.unique(numbers, return_counts=True)
    frequent = sorted(found[np.argsort(-counts, kind="stable")][:_MOST_ELEMENTS])
    pairs = [
        (int(a), int(b))
        for a, b in itertools.combinations_with_replacement(frequent, 2)
    ]
    cutoff = potential.backbone.cutoff
    radii = [covalent_radii[a] + covalent_radii[b] for a, b in pairs]
    inner = [np.linspace(0.5 * r, 0.95 * cutoff, _POINTS) for r in radii]
    distances = np.stack([np.concatenate([r, cutoff + _ABOUT]) for r in inner])
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


def dimer_checks(dimers: Dimers) -> list[Precheck]:
    """Whether forces are continuous at the cutoff, and atoms close by repel.

    A dimer is nothing that a model of condensed matter was trained on: one that
    attracts at half a bond length warns of holes, it does not prove one.

    Args:
        dimers: scanned.
    """
    about = dimers.forces[:, -len(_ABOUT) :]
    across = np.abs(about[:, 2] - about[:, 1])
    beside = np.abs(about[:, 1] - about[:, 0]) + np.abs(about[:, 3] - about[:, 2])
    # A smooth force changes across as much as beside; noise is far below a meV/Å.
    jump = float(np.max(across - 4 * beside))
    closest = dimers.forces[:, 0]
    attracting = [
        "-".join(chemical_symbols[z] for z in pair)
        for pair, force in zip(dimers.pairs, closest, strict=True)
        if force < 0
    ]
    named = ", ".join(attracting) or "none"
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
            f"pairs that attract at half a bond length: {named}",
        ),
    ]
