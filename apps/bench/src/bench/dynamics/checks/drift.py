"""Drift of the conserved energy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Drift(NamedTuple):
    """Linear trend of a conserved energy."""

    rate: float
    """Slope of the least-squares line, meV/atom/ps."""
    change_over_kinetic_std: float
    """Change along the line over the standard deviation of the kinetic energy."""


def energy_drift(
    times: Float[np.ndarray, " observations"],
    conserved: Float[np.ndarray, " observations"],
    kinetic: Float[np.ndarray, " observations"],
    n_atoms: int,
) -> Drift:
    """Fits a line to a conserved energy by least squares.

    Args:
        times: times of the observations, ps; at least three.
        conserved: conserved energy, eV.
        kinetic: kinetic energy, eV.
        n_atoms: number of atoms.
    """
    slope = float(np.polyfit(times - times.mean(), conserved - conserved.mean(), 1)[0])
    fluctuation = float(np.std(kinetic))
    change = abs(slope) * float(times[-1] - times[0])
    return Drift(
        1000 * slope / n_atoms, change / fluctuation if fluctuation else np.inf
    )
