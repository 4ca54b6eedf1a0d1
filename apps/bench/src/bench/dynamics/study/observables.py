"""What a trajectory says that can be compared with another one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from jaxtyping import Float

from bench.dynamics.engine.pairs import list_pairs

_WAVE_NUMBER = 33356.409519815204
"""1 / (c fs) in 1/cm."""


class Radial(NamedTuple):
    """A distribution of distances."""

    centres: Float[np.ndarray, " bins"]
    """Å."""
    values: Float[np.ndarray, " bins"]
    """Crystals: density of pairs over that of an ideal gas; molecules: 1/Å, of all
    pairs within the reach together 1."""


def radial_distribution(
    frames: Sequence[ase.Atoms], *, reach: float = 6.0, bins: int = 120
) -> Radial:
    r"""The radial distribution function of all atoms, averaged over frames.

    $$ g(r) = \frac{V}{N^2} \frac{\langle n(r) \rangle}{4 \pi r^2 \Delta r} $$

    Args:
        frames: of one trajectory; all periodic or all open.
        reach: largest distance, Å; larger than the cell if need be.
        bins: how many.
    """
    edges = np.linspace(0.0, reach, bins + 1)
    centres, width = 0.5 * (edges[1:] + edges[:-1]), edges[1]
    total = np.zeros(bins)
    for atoms in frames:
        box = atoms.cell.array if atoms.pbc.all() else None
        second, first, shifts = list_pairs(atoms.positions, box, reach)
        vectors = atoms.positions[second] - atoms.positions[first]
        weight = 1.0
        if box is not None:
            vectors = vectors + shifts @ box
            weight = abs(float(np.linalg.det(box))) / len(atoms) ** 2
        counts, _ = np.histogram(np.linalg.norm(vectors, axis=1), edges)
        total += weight * counts / len(frames)
    if frames[0].pbc.all():
        return Radial(centres, total / (4 * np.pi * centres**2 * width))
    return Radial(centres, total / max(total.sum() * width, 1e-300))


def overlap_error(found: Radial, reference: Radial) -> float:
    """How far two distributions are apart: 0 for equal ones, 1 for disjoint ones.

    The integral of |g - g0| over that of g + g0.

    Args:
        found: on the same bins as the reference.
        reference: for example of an ab initio trajectory.
    """
    apart = np.abs(found.values - reference.values).sum()
    return float(apart / max((found.values + reference.values).sum(), 1e-300))


def vibrations(
    velocities: Float[np.ndarray, "times atoms 3"],
    masses: Float[np.ndarray, " atoms"],
    interval: float,
) -> tuple[Float[np.ndarray, " waves"], Float[np.ndarray, " waves"]]:
    r"""The vibrational density of states, with unit area.

    $$ D(\nu) \propto \sum_i m_i | \sum_t w(t) v_i(t) e^{-2 \pi i \nu t} |^2 $$

    with a Hann window $w$. Frequencies above half the sampling rate fold back.

    Args:
        velocities: at equal intervals, any unit.
        masses: amu.
        interval: between two times, fs.

    Returns:
        Wave numbers, 1/cm, and the density, cm.
    """
    window = np.hanning(len(velocities))[:, None, None]
    spectrum = np.abs(np.fft.rfft(velocities * window, axis=0)) ** 2
    density = np.einsum("tia,i->t", spectrum, masses)
    waves = np.fft.rfftfreq(len(velocities), interval) * _WAVE_NUMBER
    return waves, density / (density.sum() * waves[1])


def infrared(
    currents: Float[np.ndarray, "times 3"], interval: float
) -> tuple[Float[np.ndarray, " waves"], Float[np.ndarray, " waves"]]:
    r"""The infrared spectrum of a classical trajectory, with unit area.

    $$ I(\nu) \propto \Big| \sum_t w(t) \dot\mu(t) e^{-2 \pi i \nu t} \Big|^2 $$

    with a Hann window $w$.

    Args:
        currents: rates of the dipole at equal intervals, any unit; those of a crystal
            are $\sum_i Z^*_i v_i$, of its Born charges and velocities.
        interval: between two times, fs.

    Returns:
        Wave numbers, 1/cm, and the intensity, cm.
    """
    window = np.hanning(len(currents))[:, None]
    spectrum = np.sum(np.abs(np.fft.rfft(currents * window, axis=0)) ** 2, axis=1)
    waves = np.fft.rfftfreq(len(currents), interval) * _WAVE_NUMBER
    return waves, spectrum / (spectrum.sum() * waves[1])


def infrared_of_dipoles(
    dipoles: Float[np.ndarray, "times 3"], interval: float
) -> tuple[Float[np.ndarray, " waves"], Float[np.ndarray, " waves"]]:
    r"""The same from dipoles, whose differences stand for their rates.

    The response of differences, $\sin(\pi\nu\Delta)/(\pi\nu\Delta)$, is divided out.

    Args:
        dipoles: at equal intervals, any unit.
        interval: between two times, fs.
    """
    waves, intensity = infrared(np.diff(dipoles, axis=0), interval)
    intensity = intensity / np.sinc(waves / _WAVE_NUMBER * interval) ** 2
    return waves, intensity / (intensity.sum() * waves[1])


def charges_along(
    frames: Sequence[ase.Atoms], calculator: Calculator, total_charge: float
) -> dict[str, Any]:
    """How charges behave along a trajectory.

    Args:
        frames: first to last, at least one.
        calculator: has charges.
        total_charge: e.

    Returns:
        The largest error of the total charge and its drift from first to last; the
        mean change of an atom's charge between halves, its spread in time, the
        extremes; all in e.
    """
    charges = np.stack([_charges(frame, calculator) for frame in frames])
    totals = charges.sum(1)
    half = max(len(charges) // 2, 1)
    change = charges[-half:].mean(0) - charges[:half].mean(0)
    return {
        "total_charge": total_charge,
        "largest_total_error": float(np.abs(totals - total_charge).max()),
        "total_drift": float(totals[-1] - totals[0]),
        "mean_change": float(np.abs(change).mean()),
        "mean_spread": float(charges.std(0).mean()),
        "least": float(charges.min()),
        "most": float(charges.max()),
    }


def _charges(frame: ase.Atoms, calculator: Calculator) -> np.ndarray:
    bare = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    return np.asarray(calculator.get_property("charges", bare))
