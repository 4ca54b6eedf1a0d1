"""Radial distributions, spectra and charge statistics of trajectories."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from backbones import neighbors
from jaxtyping import Float

_WAVENUMBER = 33356.409519815204
"""1 / (c fs) in 1/cm."""


class RadialDistribution(NamedTuple):
    """A distribution of interatomic distances."""

    centers: Float[np.ndarray, " bins"]
    """Å."""
    values: Float[np.ndarray, " bins"]
    """For crystals g(r); for molecules the probability density, 1/Å, of all pairs
    closer than the largest distance."""


def radial_distribution(
    frames: Sequence[ase.Atoms], *, reach: float = 6.0, bins: int = 120
) -> RadialDistribution:
    r"""Computes the radial distribution function of all atoms, averaged over frames.

    $$ g(r) = \frac{V}{N^2} \frac{\langle n(r) \rangle}{4 \pi r^2 \Delta r} $$

    Args:
        frames: frames of one trajectory; all periodic or all open.
        reach: largest distance, Å; may exceed the cell.
        bins: number of bins.
    """
    edges = np.linspace(0.0, reach, bins + 1)
    centers, width = 0.5 * (edges[1:] + edges[:-1]), edges[1]
    total = np.zeros(bins)
    for atoms in frames:
        box = atoms.cell.array if atoms.pbc.all() else None
        second, first, shifts = neighbors(atoms.positions, box, reach)
        vectors = atoms.positions[second] - atoms.positions[first]
        weight = 1.0
        if box is not None:
            vectors = vectors + shifts @ box
            weight = abs(float(np.linalg.det(box))) / len(atoms) ** 2
        counts, _ = np.histogram(np.linalg.norm(vectors, axis=1), edges)
        total += weight * counts / len(frames)
    if frames[0].pbc.all():
        return RadialDistribution(centers, total / (4 * np.pi * centers**2 * width))
    return RadialDistribution(centers, total / max(total.sum() * width, 1e-300))


def overlap_error(
    distribution: RadialDistribution, reference: RadialDistribution
) -> float:
    """Returns the integral of |g - g0| over that of g + g0: 0 if equal, 1 if disjoint.

    Args:
        distribution: radial distribution with the bins of the reference.
        reference: radial distribution of, for example, an ab initio trajectory.
    """
    difference = np.abs(distribution.values - reference.values).sum()
    total = (distribution.values + reference.values).sum()
    return float(difference / max(total, 1e-300))


def vibrational_spectrum(
    velocities: Float[np.ndarray, "times atoms 3"],
    masses: Float[np.ndarray, " atoms"],
    interval: float,
) -> tuple[Float[np.ndarray, " wavenumbers"], Float[np.ndarray, " wavenumbers"]]:
    r"""Computes the vibrational density of states, with unit area.

    $$ D(\nu) \propto \sum_i m_i | \sum_t w(t) v_i(t) e^{-2 \pi i \nu t} |^2 $$

    with a Hann window $w$. Frequencies above half the sampling rate are aliased.

    Args:
        velocities: velocities at equal intervals, any unit.
        masses: amu.
        interval: between two times, fs.

    Returns:
        Wavenumbers, 1/cm, and the density of states, cm.
    """
    window = np.hanning(len(velocities))[:, None, None]
    spectrum = np.abs(np.fft.rfft(velocities * window, axis=0)) ** 2
    density_of_states = np.einsum("tia,i->t", spectrum, masses)
    wavenumbers = np.fft.rfftfreq(len(velocities), interval) * _WAVENUMBER
    area = density_of_states.sum() * wavenumbers[1]
    return wavenumbers, density_of_states / area


def infrared_spectrum(
    currents: Float[np.ndarray, "times 3"], interval: float
) -> tuple[Float[np.ndarray, " wavenumbers"], Float[np.ndarray, " wavenumbers"]]:
    r"""Computes the infrared spectrum of a classical trajectory, with unit area.

    $$ I(\nu) \propto \Big| \sum_t w(t) \dot\mu(t) e^{-2 \pi i \nu t} \Big|^2 $$

    with a Hann window $w$.

    Args:
        currents: time derivative of the dipole at equal intervals, any unit; for a
            crystal $\sum_i Z^*_i v_i$ of Born charges and velocities.
        interval: between two times, fs.

    Returns:
        Wavenumbers, 1/cm, and the intensity, cm.
    """
    window = np.hanning(len(currents))[:, None]
    spectrum = np.sum(np.abs(np.fft.rfft(currents * window, axis=0)) ** 2, axis=1)
    wavenumbers = np.fft.rfftfreq(len(currents), interval) * _WAVENUMBER
    return wavenumbers, spectrum / (spectrum.sum() * wavenumbers[1])


def infrared_spectrum_of_dipoles(
    dipoles: Float[np.ndarray, "times 3"], interval: float
) -> tuple[Float[np.ndarray, " wavenumbers"], Float[np.ndarray, " wavenumbers"]]:
    r"""Computes the infrared spectrum from finite differences of dipoles.

    The frequency response of the differences, $\sin(\pi\nu\Delta)/(\pi\nu\Delta)$, is
    divided out.

    Args:
        dipoles: dipoles at equal intervals, any unit.
        interval: between two times, fs.

    Returns:
        Wavenumbers, 1/cm, and the intensity, cm.
    """
    wavenumbers, intensity = infrared_spectrum(np.diff(dipoles, axis=0), interval)
    intensity = intensity / np.sinc(wavenumbers / _WAVENUMBER * interval) ** 2
    return wavenumbers, intensity / (intensity.sum() * wavenumbers[1])


def charge_statistics(
    frames: Sequence[ase.Atoms], calculator: Calculator, total_charge: float
) -> dict[str, Any]:
    """Computes statistics of the atomic charges along a trajectory.

    Args:
        frames: frames in the order of time, at least one.
        calculator: a model that predicts charges.
        total_charge: total charge of the structure, e.

    Returns:
        In e: the largest deviation of the sum of charges from the total charge, the
        change of the sum from the first to the last frame, the mean absolute change of
        an atom's charge from the first to the second half, the mean standard deviation
        in time, minimum and maximum.
    """
    charges = np.stack([_charges(frame, calculator) for frame in frames])
    totals = charges.sum(1)
    half = max(len(charges) // 2, 1)
    change = charges[-half:].mean(0) - charges[:half].mean(0)
    return {
        "total_charge": total_charge,
        "max_total_error": float(np.abs(totals - total_charge).max()),
        "total_drift": float(totals[-1] - totals[0]),
        "mean_change_between_halves": float(np.abs(change).mean()),
        "mean_fluctuation": float(charges.std(0).mean()),
        "min": float(charges.min()),
        "max": float(charges.max()),
    }


def _charges(frame: ase.Atoms, calculator: Calculator) -> np.ndarray:
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    return np.asarray(calculator.get_property("charges", atoms))
