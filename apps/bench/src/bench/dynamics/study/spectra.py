"""Vibrational and infrared spectra of the constant-energy stage."""

from pathlib import Path
from typing import Any

import ase
import equinox as eqx
import numpy as np
from ase.data import atomic_masses
from backbones import Calculator, Potential, Structure, pack

from bench.dynamics.study.observables import (
    infrared_spectrum,
    infrared_spectrum_of_dipoles,
    vibrational_spectrum,
)
from bench.dynamics.study.stage_files import read_positions_and_velocities
from bench.evaluation.response import born_effective_charges

_MIN_OBSERVATIONS = 10
"""Smallest number of observations from which a spectrum is computed."""


def compute_spectra(
    folder: Path, relaxed: Structure, interval: float, calculator: Calculator | None
) -> dict[str, Any]:
    """Computes the vibrational spectrum and, with charges, the infrared spectrum.

    The infrared spectrum of a molecule is computed from its dipole, that of a crystal
    from velocities and the Born charges of the relaxed structure.

    Args:
        folder: folder of the stage.
        relaxed: the relaxed structure.
        interval: between two observations, fs.
        calculator: the model; None for a model without charges.

    Returns:
        `vibrations` and `infrared` as in `result.json`; None without a spectrum.
    """
    positions, velocities = read_positions_and_velocities(folder, len(relaxed))
    spectra: dict[str, Any] = {"vibrations": None, "infrared": None}
    if len(velocities) < _MIN_OBSERVATIONS or not np.isfinite(velocities).all():
        return spectra
    masses = atomic_masses[relaxed.numbers]
    wavenumbers, density_of_states = vibrational_spectrum(velocities, masses, interval)
    spectra["vibrations"] = {
        "wavenumbers": wavenumbers.tolist(),
        "density_of_states": density_of_states.tolist(),
    }
    if calculator is None:
        return spectra
    if relaxed.cell is None:
        dipoles = np.stack([_dipole(relaxed.numbers, p, calculator) for p in positions])
        wavenumbers, intensity = infrared_spectrum_of_dipoles(dipoles, interval)
    else:
        born = _neutral_effective_charges(calculator.potential, relaxed)
        currents = np.einsum("iab,tib->ta", born, velocities)
        wavenumbers, intensity = infrared_spectrum(currents, interval)
    spectra["infrared"] = {
        "wavenumbers": wavenumbers.tolist(),
        "intensity": intensity.tolist(),
    }
    return spectra


def _dipole(numbers: np.ndarray, positions: np.ndarray, calculator: Any) -> np.ndarray:
    """About the center of mass: the dipole of an ion depends on the origin."""
    atoms = ase.Atoms(numbers, positions)
    atoms.positions -= atoms.get_center_of_mass()
    return np.asarray(calculator.get_property("dipole", atoms))


def _neutral_effective_charges(
    potential: Potential, structure: Structure
) -> np.ndarray:
    """Returns [atom, direction of polarization, direction of displacement], e.

    The acoustic sum rule is enforced by subtracting the mean, so that a translation of
    the crystal has no dipole: the phase factors that define Born charges of periodic
    structures violate the rule in small cells.
    """
    (bucket,) = pack(
        [structure],
        cutoff=potential.backbone.cutoff,
        graphs=1,
        plan_for=potential.backbone.plan_for,
        triplets=potential.backbone.needs_triplets,
        dtype=np.dtype(potential.scale.dtype),
    )
    predicted = eqx.filter_jit(born_effective_charges)(potential, bucket.batch([0]))
    born = np.asarray(predicted[0, : len(structure)], np.float64)
    return born - born.mean(0)
