"""How well energy is conserved."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Drift(NamedTuple):
    """The trend of a conserved energy."""

    rate: float
    """Slope of a straight line, meV/atom/ps."""
    ratio: float
    """The line's rise over the whole time, in standard deviations of the kinetic
    energy: below 1, what was lost or gained is less than what the atoms exchange."""


def drift(
    times: Float[np.ndarray, " looks"],
    conserved: Float[np.ndarray, " looks"],
    kinetic: Float[np.ndarray, " looks"],
    atoms: int,
) -> Drift:
    """The least-squares trend of a conserved energy.

    Args:
        times: ps; at least three of them.
        conserved: eV.
        kinetic: eV.
        atoms: how many.
    """
    slope = float(np.polyfit(times - times.mean(), conserved - conserved.mean(), 1)[0])
    spread = float(np.std(kinetic))
    rise = abs(slope) * float(times[-1] - times[0])
    return Drift(1000 * slope / atoms, rise / spread if spread else np.inf)
