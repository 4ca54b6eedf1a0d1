"""Settings of reading a source: keys, units and conventions of its labels."""

import difflib
import functools
from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from bench.labels import LABELS
from bench.settings.schema import Strict
from bench.settings.units import (
    ENERGY,
    LENGTH,
    STRESS,
    EnergyUnit,
    LengthUnit,
    StressUnit,
)

DEFAULT_KEYS: dict[str, tuple[str, ...]] = {
    **{name: label.default_keys for name, label in LABELS.items()},
    "virial": (),
    "id": ("id",),
    "group": ("group",),
}
"""Default keys of each label, for formats without keys of their own. Virials have none,
since programs differ in the sign."""


def _check_keys(keys: dict[str, str]) -> dict[str, str]:
    for label in keys:
        if label not in DEFAULT_KEYS:
            raise ValueError(unknown_label(label, DEFAULT_KEYS))
    if "virial" in keys and "stress" in keys:
        raise ValueError(
            f"stress is read from {keys['stress']!r} or from the virial "
            f"{keys['virial']!r}, not from both: name one of them"
        )
    return keys


def unknown_label(label: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Returns a message that suggests a label.

    Args:
        label: that is unknown.
        known: all labels.
    """
    close = difflib.get_close_matches(label, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"there is no label {label!r}; {hint}"


Keys = Annotated[dict[str, str], pydantic.AfterValidator(_check_keys)]


class ReadSettings(Strict):
    """Format, units and conventions of the labels in the source."""

    format: str | None = None
    """Format of the files, such as `extxyz` or one of an installed package; null
    derives it from their names."""
    energy_unit: EnergyUnit = "eV"
    """Unit of energies and virials, and of forces per unit of length."""
    length_unit: LengthUnit = "angstrom"
    """Unit of lengths; dipoles are in e times this unit."""
    stress_unit: StressUnit | None = None
    """Unit of stress; null: unit of energy per unit of length cubed."""
    dipole_origin: Literal["mass", "coordinates"] | None = None
    """Origin of dipoles of charged structures: center of mass, or of the coordinates.
    They depend on it and are not used if it is null."""
    born_transposed: bool = False
    """Born charges are stored as [displacement, polarization]."""


class ReadOptions(ReadSettings):
    """Settings of a reader, with the keys of the labels."""

    keys: Keys = {}
    """Key in the source, by label (any of `DEFAULT_KEYS`). A label without an entry is
    read under the default keys of the format, one with an empty key not at all. `+`
    adds scalars, such as `{total_charge: chargeA+chargeB}`. The virial is an energy:
    minus the stress times the volume."""

    @pydantic.model_validator(mode="after")
    def _check_virial(self) -> "ReadOptions":
        check_virial(self.keys, self.stress_unit)
        return self

    @functools.cached_property
    def conversion_factors(self) -> dict[str, float]:
        """Factor of each label that converts it to eV and Å."""
        energy, length = ENERGY[self.energy_unit], LENGTH[self.length_unit]
        unit = self.stress_unit
        factors = {"virial": energy}
        for name, label in LABELS.items():
            energies, lengths = label.dimension
            factor = energy**energies
            if lengths:
                power = length ** abs(lengths)
                factor = factor * power if lengths > 0 else factor / power
            if any(label.dimension):
                factors[name] = factor
        return factors if unit is None else factors | {"stress": STRESS[unit]}


def check_virial(keys: Mapping[str, str], stress_unit: str | None) -> None:
    """Checks that virials are not in a unit of stress.

    Args:
        keys: of the labels.
        stress_unit: None if it is not given.

    Raises:
        ValueError: both are given.
    """
    if "virial" in keys and stress_unit is not None:
        raise ValueError(
            f"the virial {keys['virial']!r} is an energy, in energy_unit: omit "
            "stress_unit"
        )
