"""What a trajectory says that can be compared with another one."""

from collections.abc import Sequence
from typing import NamedTuple

import ase
import numpy as np
from jaxtyping import Float

from ._pairs import list_pairs


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
    # 1 / (c fs) in 1/cm.
    waves = np.fft.rfftfreq(len(velocities), interval) * 33356.409519815204
    return waves, density / (density.sum() * waves[1])
