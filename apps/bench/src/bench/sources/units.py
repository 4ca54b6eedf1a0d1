"""Units of energy, length and stress, in eV and Å."""

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
"""Units of energy in eV (CODATA 2014, the constants of ASE)."""

LENGTH = {"angstrom": 1.0, "bohr": units.Bohr, "nm": 10.0}
"""Units of length in Å."""

STRESS = {
    "eV/Å^3": 1.0,
    "eV/A^3": 1.0,
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
}
"""Units of stress in eV/Å^3."""


def conversion_factor(name: str, table: dict[str, float]) -> float:
    """Returns the value of a unit in eV and Å.

    Args:
        name: name of the unit.
        table: `ENERGY`, `LENGTH` or `STRESS`.

    Raises:
        BenchError: the unit is not in the table; the message suggests a similar one.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, 1)
    hint = (
        f"did you mean {near[0]!r}?" if near else f"available are {', '.join(table)}."
    )
    raise BenchError(f"There is no unit {name!r}; {hint}")
