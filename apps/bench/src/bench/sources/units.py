"""Units in which a source may give its numbers, in eV and Å."""

import difflib

from ase import units

from bench.exceptions import BenchError

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "hartree": units.Hartree,
    "rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
"""Energies by name, in eV (CODATA 2014, the constants of ASE)."""

LENGTH = {"angstrom": 1.0, "bohr": units.Bohr, "nm": 10.0}
"""Lengths by name, in Å."""

STRESS = {
    "eV/Å^3": 1.0,
    "eV/A^3": 1.0,
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
}
"""Stresses by name, in eV/Å^3."""


def factor(name: str, table: dict[str, float]) -> float:
    """What a number in the named unit is multiplied with.

    Raises:
        BenchError: the unit is not in the table; the near miss is named.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(table)}."
    raise BenchError(f"There is no unit {name!r}; {hint}")
