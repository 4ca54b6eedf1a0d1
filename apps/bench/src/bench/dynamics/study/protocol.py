"""Limits and constants of all simulations."""

import ase
from ase import units

# A tenth of the period of bonds to hydrogen, which is 9 to 11 fs.
_HYDROGEN_TIMESTEP = 1.0
# The same for bonds among carbon, nitrogen and oxygen.
_OTHER_TIMESTEP = 2.0

MAX_DRIFT = 0.5
"""Largest drift of the conserved energy of a passed stage, meV/atom/ps."""
MAX_ENERGY_CHANGE_OVER_KINETIC_STD = 1.0
"""Largest change of the conserved energy of a passed stage over the standard deviation
of the kinetic energy."""

FORCE_TOLERANCE = 0.05
"""Largest force on an atom of a relaxed structure, eV/Å (`fmax` of ASE)."""


GPA = units.GPa
"""In eV/Å^3."""


def timestep_warning(atoms: ase.Atoms, timestep: float) -> str | None:
    """Returns a warning if a time step is too long for the fastest bonds, else None.

    Args:
        atoms: the structure.
        timestep: time step, fs.
    """
    hydrogen = 1 in atoms.numbers
    limit = _HYDROGEN_TIMESTEP if hydrogen else _OTHER_TIMESTEP
    if timestep <= limit:
        return None
    bonds = "bonds to hydrogen" if hydrogen else "bonds of light atoms"
    return (
        f"a time step of {timestep:g} fs exceeds the {limit:g} fs that "
        f"{atoms.get_chemical_formula()} allows ({bonds} vibrate with a period of "
        f"{10 * limit:.0f} fs): energy will not be conserved."
    )
