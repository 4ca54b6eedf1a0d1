"""Builds a row from the geometry and the named values of a structure in a source."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import atomic_masses

from bench.labels import LABELS
from bench.settings.reading import DEFAULT_KEYS, ReadOptions
from bench.sources.row import Row, RowError

NOT_LABELS = ("id", "group")
"""Their keys may also be those of a label."""

SCALARS = (str, bool, int, float, np.integer)
"""Types of the values in `Row.info`."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Atoms and boundary conditions of a structure, in the units of the source.

    Args:
        numbers: atomic numbers, `(atoms,)`.
        positions: `(atoms, 3)`.
        cell: lattice vectors as rows, `(3, 3)`; None without a cell.
        pbc: whether boundaries are periodic: one flag, or one per direction.
    """

    numbers: Any
    positions: Any
    cell: Any = None
    pbc: Any = False


def build_row(
    geometry: Geometry,
    values: Mapping[str, Any],
    options: ReadOptions,
    *,
    id: str,
    group: str | None = None,
    default_keys: Mapping[str, tuple[str, ...]] = DEFAULT_KEYS,
) -> Row:
    """Returns a validated row in eV, Å and e.

    Args:
        geometry: elements, positions and cell in the units of `options`.
        values: all values that the source has for this structure, by key.
        options: keys and units that the user gave.
        id: used if no value is an id.
        group: used if no value is a group; None uses the id, so that the row is a
            group of its own.
        default_keys: default keys of each label in this format, in order of
            preference.

    Raises:
        RowError: a value cannot be used.
    """
    labels, keys = _select_values(values, options, default_keys)
    name = id if labels["id"] is None else labels["id"]
    for label, factor in options.conversion_factors.items():
        labels[label] = _converted(label, labels[label], factor)
    length = options.conversion_factors["dipole"]
    cell = geometry.cell if _is_periodic(geometry) else None
    cell = _converted("cell", cell, length)
    if labels["virial"] is not None:
        labels["stress"] = _stress_from_virial(labels["virial"], cell)
        keys["stress"] = keys.pop("virial")
    row = Row(
        id=name,
        group=_first_given(labels["group"], group, name),
        numbers=geometry.numbers,
        positions=_converted("positions", geometry.positions, length),
        cell=cell,
        info={k: v for k, v in values.items() if isinstance(v, SCALARS)},
        available_keys=tuple(k for k, v in values.items() if v is not None),
        label_keys=keys,
        labels={label: labels[label] for label in LABELS},
    )
    return _apply_conventions(row, options)


def _stress_from_virial(virial: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
    """Returns minus the virial over the volume; `Row` reports an invalid cell."""
    if cell is None or cell.shape != (3, 3) or not np.linalg.det(cell):
        return virial
    return -virial / abs(np.linalg.det(cell))


def _apply_conventions(row: Row, options: ReadOptions) -> Row:
    """Converts dipole and Born charges to the conventions of `Row`."""
    if options.born_transposed and row.born_charges is not None:
        row = row.with_labels(born_charges=row.born_charges.swapaxes(1, 2))
    if row.dipole is None or not row.total_charge or options.dipole_origin == "mass":
        return row
    if options.dipole_origin is None:
        return row.with_labels(dipole=None)
    masses = atomic_masses[row.numbers]
    center = masses @ row.positions / masses.sum()
    return row.with_labels(dipole=row.dipole - row.total_charge * center)


def _select_values(
    values: Mapping[str, Any],
    options: ReadOptions,
    default_keys: Mapping[str, tuple[str, ...]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the value of each label, id and group, and the key it had."""
    selected: dict[str, Any] = dict.fromkeys(DEFAULT_KEYS)
    keys = {}
    # A key given for one label is not a default of another: `charge` may be the
    # atomic charges.
    reserved = {k for label, k in options.keys.items() if label not in NOT_LABELS}
    for label in DEFAULT_KEYS:
        given = options.keys.get(label)
        if label == "stress" and "virial" in options.keys:
            continue
        defaults = (k for k in default_keys.get(label, ()) if k not in reserved)
        for key in defaults if given is None else (given,):
            value = values.get(key)
            if value is None and "+" in key:
                value = _sum(values, key)
            if value is not None:
                selected[label], keys[label] = value, key
                break
    return selected, keys


def _sum(values: Mapping[str, Any], key: str) -> float | None:
    """Returns the sum of scalars whose keys are joined by `+`."""
    terms: list[Any] = [values.get(part.strip()) for part in key.split("+")]
    if any(term is None for term in terms):
        return None
    try:
        return sum(float(term) for term in terms)
    except (TypeError, ValueError):
        raise RowError(f"the terms of {key} are not scalars") from None


def _first_given(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def _converted(label: str, value: Any, factor: float) -> Any:
    if value is None:
        return None
    try:
        return np.asarray(value, np.float64) * factor
    except (TypeError, ValueError):
        raise RowError(f"{label} is not numeric: {str(value)[:40]!r}") from None


def _is_periodic(geometry: Geometry) -> bool:
    flags = np.asarray(geometry.pbc, bool).ravel()
    if flags.any() and not flags.all():
        raise RowError(
            f"boundaries pbc={flags.tolist()} mix open and periodic directions, which "
            "is not supported: set all three or none"
        )
    if flags.any() and geometry.cell is None:
        raise RowError("it is periodic but has no cell")
    return bool(flags.any())
