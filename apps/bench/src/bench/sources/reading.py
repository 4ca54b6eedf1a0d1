"""From the named values of a source to a row: which name is which label, which unit."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import atomic_masses

from bench.exceptions import BenchError
from bench.labels import LABELS
from bench.sources.row import Row, RowError
from bench.sources.units import ENERGY, LENGTH, STRESS, factor

DEFAULTS: dict[str, tuple[str, ...]] = {
    **{label: (label,) for label in LABELS},
    "virial": (),
    "id": ("id",),
    "group": ("group",),
}
"""Names understood without being told, for formats without names of their own. A virial
is another way to give a stress; programs differ in its sign, so it has to be named."""


OF_ROWS = ("id", "group")
"""What is no label: a name may be both of these and a label."""

SINGLE = (str, bool, int, float, np.integer)
"""Types of single numbers and words."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a source names and measures its labels; None is the format's own name.

    A name given here is the only one looked for. Single numbers that are parts of one
    are added by `+`, such as `total_charge="chargeA+chargeB"`.

    Args:
        energy: name of the total energy; and so on for all labels, id and group.
        virial: name of the virial, an energy: minus the stress times the volume.
        energy_unit: a key of `ENERGY`; forces and virials follow.
        length_unit: a key of `LENGTH`; dipoles are in e times it.
        stress_unit: a key of `STRESS`; None is the unit of energy over that of length
            cubed.
        dipole_origin: `"mass"`, the centre of mass, or `"coordinates"`, where
            positions are zero. The dipole of a charged structure depends on it and is
            not used unless it is given.
        born_transposed: whether Born charges come as [displacement, polarisation].
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
        factor(self.energy_unit, ENERGY)
        factor(self.length_unit, LENGTH)
        factor(self.stress_unit or "GPa", STRESS)
        if self.virial is not None and self.stress is not None:
            raise BenchError(
                f"Stress is read from {self.stress!r} or from the virial "
                f"{self.virial!r}, not from both: name one of them."
            )
        if self.virial is not None and self.stress_unit is not None:
            raise BenchError(
                f"The virial {self.virial!r} is an energy, in the unit of energies: "
                "leave the unit of stress away."
            )
        if self.dipole_origin not in (None, "mass", "coordinates"):
            raise BenchError(
                "The origin of dipoles is `mass` or `coordinates`, got "
                f"{self.dipole_origin!r}."
            )

    @functools.cached_property
    def scales(self) -> dict[str, float]:
        """What the numbers of each label are multiplied with."""
        energy, length = (
            factor(self.energy_unit, ENERGY),
            factor(self.length_unit, LENGTH),
        )
        stress = energy / length**3
        return {
            "energy": energy,
            "forces": energy / length,
            "stress": factor(self.stress_unit, STRESS) if self.stress_unit else stress,
            "virial": energy,
            "dipole": length,
        }

    @functools.cached_property
    def named(self) -> dict[str, str]:
        """The names that were given, by label."""
        given = ((label, getattr(self, label)) for label in DEFAULTS)
        return {label: name for label, name in given if name is not None}


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Atoms and boundaries as a source gives them, in its own units.

    Args:
        numbers: atomic numbers.
        positions: `(atoms, 3)`.
        cell: lattice vectors as rows, or None.
        pbc: one flag, or one for each direction.
    """

    numbers: Any
    positions: Any
    cell: Any = None
    pbc: Any = False


def read_row(
    geometry: Geometry,
    values: Mapping[str, Any],
    reading: Reading,
    *,
    id: str,
    group: str | None = None,
    defaults: Mapping[str, tuple[str, ...]] = DEFAULTS,
) -> Row:
    """A checked row from a geometry and the named values that come with it.

    Args:
        geometry: in the units of `reading`.
        values: everything the source offers for this structure, by name.
        reading: names and units that were given.
        id: used where no value is an id.
        group: used where no value is a group; None makes the row its own group.
        defaults: names of each label in this format, best first.

    Raises:
        RowError: something cannot be used.
    """
    found, origins = _assign(values, reading, defaults)
    name = id if found["id"] is None else found["id"]
    scales = reading.scales
    for label, scale in scales.items():
        found[label] = _scaled(label, found[label], scale)
    length = scales["dipole"]
    cell = geometry.cell if _periodic(geometry) else None
    cell = _scaled("cell", cell, length)
    if found["virial"] is not None:
        found["stress"] = _stress_of(found["virial"], cell)
        origins["stress"] = origins.pop("virial")
    row = Row(
        id=name,
        group=_first(found["group"], group, name),
        numbers=geometry.numbers,
        positions=_scaled("positions", geometry.positions, length),
        cell=cell,
        facts={k: v for k, v in values.items() if isinstance(v, SINGLE)},
        names=tuple(k for k, v in values.items() if v is not None),
        origins=origins,
        **{label: found[label] for label in LABELS},
    )
    return _as_declared(row, reading)


def _stress_of(virial: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
    """Minus the virial over the volume; where there is none, the row complains."""
    if cell is None or cell.shape != (3, 3) or not np.linalg.det(cell):
        return virial
    return -virial / abs(np.linalg.det(cell))


def _as_declared(row: Row, reading: Reading) -> Row:
    """A row with its response labels in the one form that is stored."""
    if reading.born_transposed and row.born_charges is not None:
        row = dataclasses.replace(row, born_charges=row.born_charges.swapaxes(1, 2))
    if row.dipole is None or not row.total_charge or reading.dipole_origin == "mass":
        return row
    if reading.dipole_origin is None:
        return dataclasses.replace(row, dipole=None)
    masses = atomic_masses[row.numbers]
    centre = masses @ row.positions / masses.sum()
    return dataclasses.replace(row, dipole=row.dipole - row.total_charge * centre)


def _assign(
    values: Mapping[str, Any],
    reading: Reading,
    defaults: Mapping[str, tuple[str, ...]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The value of each label, id and group, and the name it had."""
    found: dict[str, Any] = dict.fromkeys(DEFAULTS)
    origins = {}
    # What is named as one label is no other one: `charge` may be charges of atoms.
    taken = {name for label, name in reading.named.items() if label not in OF_ROWS}
    for label in DEFAULTS:
        given = getattr(reading, label)
        if label == "stress" and reading.virial is not None:
            continue
        usual = (n for n in defaults.get(label, ()) if n not in taken)
        for name in usual if given is None else (given,):
            value = values.get(name)
            if value is None and "+" in name:
                value = _sum(values, name)
            if value is not None:
                found[label], origins[label] = value, name
                break
    return found, origins


def _sum(values: Mapping[str, Any], name: str) -> float | None:
    """The sum of several single numbers whose names are joined by `+`."""
    terms: list[Any] = [values.get(part.strip()) for part in name.split("+")]
    if any(term is None for term in terms):
        return None
    try:
        return sum(float(term) for term in terms)
    except (TypeError, ValueError):
        raise RowError(f"the terms of {name} are not single numbers") from None


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def _scaled(label: str, value: Any, scale: float) -> Any:
    if value is None:
        return None
    try:
        return np.asarray(value, np.float64) * scale
    except (TypeError, ValueError):
        raise RowError(f"{label} is not made of numbers: {str(value)[:40]!r}") from None


def _periodic(geometry: Geometry) -> bool:
    flags = np.asarray(geometry.pbc, bool).ravel()
    if flags.any() and not flags.all():
        raise RowError(
            f"boundaries pbc={flags.tolist()} mix open and periodic directions, which "
            "is not supported: set all three or none"
        )
    if flags.any() and geometry.cell is None:
        raise RowError("it is periodic but has no cell")
    return bool(flags.any())
