"""Covalent radii of the elements, the initial widths of the Gaussian charges."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

# Å, H to Cm, one group of lines per period; Mn, Fe, Co low spin, C sp3.
# fmt: off
_MEASURED = [
    0.31, 0.28,
    1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58,
    1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06,
    2.03, 1.76, 1.70, 1.60, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22, 1.22,
    1.20, 1.19, 1.20, 1.20, 1.16,
    2.20, 1.95, 1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44, 1.42,
    1.39, 1.39, 1.38, 1.39, 1.40,
    2.44, 2.15, 2.07, 2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92,
    1.89, 1.90, 1.87, 1.87, 1.75, 1.70, 1.62, 1.51, 1.44, 1.41, 1.36, 1.36, 1.32,
    1.45, 1.46, 1.48, 1.40, 1.50, 1.50,
    2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80, 1.69,
]
# fmt: on

NUM_ELEMENTS = 119
"""Number of rows of a table by atomic number, including padding (0)."""

COVALENT_RADII = np.full(NUM_ELEMENTS, np.nan)
"""Single-bond radii by atomic number, Å; NaN if none is published.

Row 0 is padding. References: Cordero et al., Dalton Trans. 2008, 2832,
doi:10.1039/b801115j.
"""
COVALENT_RADII[0] = 1.0
COVALENT_RADII[1 : len(_MEASURED) + 1] = _MEASURED
COVALENT_RADII.flags.writeable = False


def check_species(species: np.ndarray) -> None:
    """Raises ValueError for atomic numbers without a covalent radius."""
    unknown = species[
        (species < 0) | ~np.isfinite(COVALENT_RADII[species % NUM_ELEMENTS])
    ]
    if unknown.size or (species >= NUM_ELEMENTS).any():
        number = unknown[0] if unknown.size else species.max()
        raise ValueError(
            f"Element {number} has no published covalent radius and so no initial "
            "width: atomic numbers are between 1 and 96, 0 on padding."
        )


def covalent_radii(
    species: Int[Array, " atoms"], dtype: np.dtype
) -> Float[Array, " atoms"]:
    """The radii of atoms, Å; raises ValueError or, in a trace, NaN if not published."""
    if not isinstance(species, Tracer):
        check_species(np.asarray(species))
    return jnp.asarray(COVALENT_RADII, dtype)[species]
