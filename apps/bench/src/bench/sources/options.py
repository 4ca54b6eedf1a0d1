"""Options of reading a source: keys and units of its labels."""

import dataclasses
import functools
from collections.abc import Mapping

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

    Args:
        keys: the key under which a label is read, by label; any of `DEFAULT_KEYS`. A
            label without an entry is read under the default keys of the format, one
            with an empty key not at all. `+` adds scalars, such as
            `{"total_charge": "chargeA+chargeB"}`. The virial is an energy: minus the
            stress times the volume.
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

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    energy_unit: str = "eV"
    length_unit: str = "angstrom"
    stress_unit: str | None = None
    dipole_origin: str | None = None
    born_transposed: bool = False

    def __post_init__(self):
        for label in self.keys:
            if label not in DEFAULT_KEYS:
                raise BenchError(
                    f"Keys are given for labels; {label!r} is not one of "
                    f"{', '.join(DEFAULT_KEYS)}."
                )
        stress, virial = self.keys.get("stress"), self.keys.get("virial")
        conversion_factor(self.energy_unit, ENERGY)
        conversion_factor(self.length_unit, LENGTH)
        conversion_factor(self.stress_unit or "GPa", STRESS)
        if virial is not None and stress is not None:
            raise BenchError(
                f"Stress is read from {stress!r} or from the virial {virial!r}, "
                "not from both: name one of them."
            )
        if virial is not None and self.stress_unit is not None:
            raise BenchError(
                f"The virial {virial!r} is an energy, in the unit of energies: "
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
