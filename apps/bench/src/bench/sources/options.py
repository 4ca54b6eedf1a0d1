"""Options of reading a source: keys and units of its labels."""

import dataclasses
import functools

from bench.exceptions import BenchError
from bench.labels import LABELS
from bench.sources.units import ENERGY, LENGTH, STRESS, conversion_factor

DEFAULT_KEYS: dict[str, tuple[str, ...]] = {
    **{label: (label,) for label in LABELS},
    "virial": (),
    "id": ("id",),
    "group": ("group",),
}
"""Default keys of each label, for formats without keys of their own. Virials have none,
since programs differ in the sign."""


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Keys, units and conventions of the labels in a source.

    A label whose key is None is read under the default keys of the format; otherwise
    under the given key only. `+` adds scalars, such as
    `total_charge="chargeA+chargeB"`.

    Args:
        energy: key of the total energy.
        forces: key of the forces.
        stress: key of the stress.
        charges: key of the atomic charges.
        total_charge: key of the total charge, e.
        spin: key of the multiplicity 2S + 1.
        tags: key of the integer tags of atoms.
        dipole: key of the dipole moment.
        born_charges: key of the Born effective charges.
        virial: key of the virial, an energy: minus the stress times the volume.
        id: key of the unique name of a structure.
        group: key of the material or molecule.
        energy_unit: a key of `units.ENERGY`; also used for forces and virials.
        length_unit: a key of `units.LENGTH`; dipoles are in e times this unit.
        stress_unit: a key of `units.STRESS`; None means energy unit per length unit
            cubed.
        dipole_origin: `"mass"` for the center of mass, `"coordinates"` for the
            coordinate origin. Dipoles of charged structures depend on it and are
            ignored if it is None.
        born_transposed: whether Born charges are stored as [displacement,
            polarization].
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    charges: str | None = None
    total_charge: str | None = None
    spin: str | None = None
    tags: str | None = None
    dipole: str | None = None
    born_charges: str | None = None
    virial: str | None = None
    id: str | None = None
    group: str | None = None
    energy_unit: str = "eV"
    length_unit: str = "angstrom"
    stress_unit: str | None = None
    dipole_origin: str | None = None
    born_transposed: bool = False

    def __post_init__(self):
        conversion_factor(self.energy_unit, ENERGY)
        conversion_factor(self.length_unit, LENGTH)
        conversion_factor(self.stress_unit or "GPa", STRESS)
        if self.virial is not None and self.stress is not None:
            raise BenchError(
                f"Stress is read from {self.stress!r} or from the virial "
                f"{self.virial!r}, not from both: name one of them."
            )
        if self.virial is not None and self.stress_unit is not None:
            raise BenchError(
                f"The virial {self.virial!r} is an energy, in the unit of energies: "
                "omit the unit of stress."
            )
        if self.dipole_origin not in (None, "mass", "coordinates"):
            raise BenchError(
                "The origin of dipoles is `mass` or `coordinates`, got "
                f"{self.dipole_origin!r}."
            )

    @functools.cached_property
    def conversion_factors(self) -> dict[str, float]:
        """Factor of each label that converts it to eV and Å."""
        energy = conversion_factor(self.energy_unit, ENERGY)
        length = conversion_factor(self.length_unit, LENGTH)
        stress = energy / length**3
        if self.stress_unit:
            stress = conversion_factor(self.stress_unit, STRESS)
        return {
            "energy": energy,
            "forces": energy / length,
            "stress": stress,
            "virial": energy,
            "dipole": length,
        }

    @functools.cached_property
    def given_keys(self) -> dict[str, str]:
        """The keys that the user gave, by label."""
        keys = ((label, getattr(self, label)) for label in DEFAULT_KEYS)
        return {label: key for label, key in keys if key is not None}
