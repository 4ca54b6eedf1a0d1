"""Units of energy, length and stress, in eV and Å."""

from typing import Literal

from ase import units

EnergyUnit = Literal["eV", "meV", "hartree", "rydberg", "kcal/mol", "kJ/mol"]
LengthUnit = Literal["angstrom", "bohr", "nm"]
StressUnit = Literal["eV/Å^3", "eV/A^3", "GPa", "kbar"]

ENERGY: dict[EnergyUnit, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "hartree": units.Hartree,
    "rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
"""Units of energy in eV (CODATA 2014, the constants of ASE)."""

LENGTH: dict[LengthUnit, float] = {"angstrom": 1.0, "bohr": units.Bohr, "nm": 10.0}
"""Units of length in Å."""

STRESS: dict[StressUnit, float] = {
    "eV/Å^3": 1.0,
    "eV/A^3": 1.0,
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
}
"""Units of stress in eV/Å^3."""
