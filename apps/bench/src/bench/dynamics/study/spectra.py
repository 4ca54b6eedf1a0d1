"""What vibrates in a trajectory at constant energy, and what of it light sees."""

from pathlib import Path
from typing import Any

import ase
import equinox as eqx
import numpy as np
from ase.data import atomic_masses
from backbones import Calculator, Potential, Structure, pack

from bench.dynamics.study.observables import infrared, infrared_of_dipoles, vibrations
from bench.dynamics.study.recording import read_motion
from bench.evaluation.response import born_charges_of

_FEWEST = 10
"""Looks that make a spectrum."""


def spectra(
    place: Path, rest: Structure, interval: float, charged: Calculator | None
) -> dict[str, Any]:
    """The density of vibrations; the infrared spectrum where a model has charges.

    That of a molecule comes from its dipole, that of a crystal from the velocities and
    the Born charges at rest.

    Args:
        place: folder of the phase.
        rest: where the structure rests.
        interval: between two looks, fs.
        charged: the model, if it has charges.

    Returns:
        Plain values for a file, None where there is no spectrum.
    """
    positions, velocities = read_motion(place, len(rest))
    told: dict[str, Any] = {"vibrations": None, "infrared": None}
    if len(velocities) < _FEWEST or not np.isfinite(velocities).all():
        return told
    waves, density = vibrations(velocities, atomic_masses[rest.numbers], interval)
    told["vibrations"] = {"waves": waves.tolist(), "density": density.tolist()}
    if charged is None:
        return told
    if rest.cell is None:
        dipoles = np.stack([_dipole(rest.numbers, p, charged) for p in positions])
        waves, intensity = infrared_of_dipoles(dipoles, interval)
    else:
        born = _born_charges(charged.potential, rest)
        currents = np.einsum("iab,tib->ta", born, velocities)
        waves, intensity = infrared(currents, interval)
    told["infrared"] = {"waves": waves.tolist(), "intensity": intensity.tolist()}
    return told


def _dipole(numbers: np.ndarray, positions: np.ndarray, calculator: Calculator):
    """About the centre of mass, for the dipole of an ion depends on the origin."""
    atoms = ase.Atoms(numbers, positions)
    atoms.positions -= atoms.get_center_of_mass()
    found: Any = calculator
    return np.asarray(found.get_property("dipole", atoms))


def _born_charges(potential: Potential, structure: Structure) -> np.ndarray:
    """As [atom, direction of polarisation, direction of displacement], e.

    Their sum is made zero, as customary: light does not see a crystal that moves as a
    whole, but the phase form of Born charges in a small cell does.
    """
    (bucket,) = pack(
        [structure],
        cutoff=potential.backbone.cutoff,
        graphs=1,
        plan_for=potential.backbone.plan_for,
        triplets=potential.backbone.needs_triplets,
        dtype=np.dtype(potential.scale.dtype),
    )
    found = eqx.filter_jit(born_charges_of)(potential, bucket.batch([0]))
    born = np.asarray(found[0, : len(structure)], np.float64)
    return born - born.mean(0)
