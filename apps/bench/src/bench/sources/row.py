"""One structure as a source gives it, checked before anything else sees it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

LARGEST_NAME = 400
"""Characters of an id or a group."""

FARTHEST = 1e8
"""Å from the origin; beyond, distances lose their eighth digit."""


class RowError(ValueError):
    """A structure cannot be used; the message says why in a few words."""


class Rejected(NamedTuple):
    """A structure that cannot be used, and why."""

    where: str
    why: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One structure in eV, Å and e; what the source does not say is None.

    Args:
        id: unique in the source.
        group: material or molecule.
        numbers: atomic numbers, `(atoms,)`.
        positions: Å, `(atoms, 3)`.
        cell: lattice vectors as rows, Å, `(3, 3)`; None for open boundaries.
        total_charge: e.
        spin: multiplicity 2S + 1.
        energy: eV.
        forces: eV/Å, `(atoms, 3)`.
        stress: eV/Å^3, ASE's sign and Voigt order, `(6,)`.
        charges: e, `(atoms,)`.
        dipole: e Å about the centre of mass, `(3,)`; open boundaries only.
        born_charges: e, [atom, direction of polarisation, of displacement].
        tags: small integers that mark atoms, `(atoms,)`.
        facts: single numbers and words of the source, for recipes; not stored.
        names: all that the source offers for this structure.
        origins: the name that each label had there.
    """

    id: str
    group: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    total_charge: float | None = None
    spin: int | None = None
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    charges: np.ndarray | None = None
    dipole: np.ndarray | None = None
    born_charges: np.ndarray | None = None
    tags: np.ndarray | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)
        numbers = _numbers(self.numbers)
        atoms = len(numbers)
        put("id", _name("id", self.id))
        put("group", _name("group", self.group))
        put("numbers", numbers)
        put("positions", _positions(self.positions, atoms))
        if self.cell is not None:
            put("cell", _cell(self.cell))
        for name in ("total_charge", "energy"):
            if getattr(self, name) is not None:
                put(name, float(_finite(name, getattr(self, name), ())))
        if self.spin is not None:
            put("spin", _multiplicity(self.spin))
        for name, shape in (("forces", (atoms, 3)), ("charges", (atoms,))):
            if getattr(self, name) is not None:
                put(name, _finite(name, getattr(self, name), shape))
        if self.stress is not None:
            put("stress", None if self.cell is None else _voigt(self.stress))
        if self.dipole is not None:
            put("dipole", None if self.cell is not None else _vector(self.dipole))
        if self.born_charges is not None:
            put("born_charges", _tensors(self.born_charges, atoms))
        if self.tags is not None:
            put("tags", _tags(self.tags, atoms))

    def __len__(self):
        return len(self.numbers)

    @property
    def is_isolated_atom(self) -> bool:
        """Whether it is a single atom with open boundaries, or called IsolatedAtom.

        A single atom in a cell is a crystal unless its `config_type` says otherwise.
        """
        kind = str(self.facts.get("config_type", "")).replace("_", "").lower()
        return len(self) == 1 and (self.cell is None or kind == "isolatedatom")


def _name(kind: str, value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    if not text or not text.isprintable() or len(text) > LARGEST_NAME:
        raise RowError(
            f"its {kind} must be 1 to {LARGEST_NAME} printable characters, got "
            f"{text[:40]!r}"
        )
    return text


def _numbers(value: Any) -> np.ndarray:
    given = np.asarray(value)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iuf":
        raise RowError(
            f"atomic numbers have shape {given.shape} and type {given.dtype}, "
            "expected one whole number for each atom"
        )
    # Written so that NaN is refused as well.
    if not (given.min() >= 1 and given.max() <= 118):
        raise RowError(
            f"atomic numbers lie between 1 and 118, got {given.min()} to {given.max()}"
        )
    if given.dtype.kind == "f" and (given != np.round(given)).any():
        raise RowError("atomic numbers are not whole")
    return given.astype(np.int32)


def _finite(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(value, bool | np.bool_):
        raise RowError(f"{name} is not made of numbers: {value!r}")
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise RowError(f"{name} is not made of numbers: {str(value)[:40]!r}") from None
    if found.size == 1 and shape == ():
        found = found.reshape(())
    if found.shape != shape:
        raise RowError(f"{name} has shape {found.shape}, expected {shape}")
    if not np.isfinite(found).all():
        raise RowError(f"{name} is not finite")
    return found


def _positions(value: Any, atoms: int) -> np.ndarray:
    found = np.asarray(value, np.float64)
    if found.shape != (atoms, 3):
        raise RowError(
            f"positions have shape {found.shape}, expected {(atoms, 3)} to go with "
            f"{atoms} atomic numbers"
        )
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise RowError(
            f"the position of atom {bad[0]} is not finite: {found[bad[0]].tolist()}"
        )
    far = np.flatnonzero((np.abs(found) > FARTHEST).any(1))
    if len(far):
        raise RowError(
            f"atom {far[0]} lies more than {FARTHEST:g} Å from the origin: "
            f"{found[far[0]].tolist()}"
        )
    return found


def _cell(value: Any) -> np.ndarray:
    cell = _finite("cell", value, (3, 3))
    # Plain numbers: NumPy takes as long for nine of them as for a structure's atoms.
    a, b, c = cell.tolist()
    lengths = math.hypot(*a) * math.hypot(*b) * math.hypot(*c)
    volume = abs(
        a[0] * (b[1] * c[2] - b[2] * c[1])
        + a[1] * (b[2] * c[0] - b[0] * c[2])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    if not volume > 1e-6 * lengths:
        raise RowError(f"its cell has no volume: {cell.tolist()}")
    return cell


def _multiplicity(value: Any) -> int:
    spin = _finite("spin", value, ())
    if spin < 0 or spin != np.round(spin) or spin > 1000:
        raise RowError(f"spin is a multiplicity, a whole number from 1 on, got {spin}")
    return int(spin)


def _voigt(value: Any) -> np.ndarray:
    given = np.asarray(value, np.float64)
    if given.size == 9:
        full = given.reshape(3, 3)
        if not np.allclose(full, full.T, atol=1e-4 * (1e-3 + np.abs(full).max())):
            raise RowError("stress is not symmetric")
        given = full_3x3_to_voigt_6_stress(full)
    return _finite("stress", given, (6,))


def _vector(value: Any) -> np.ndarray:
    given = np.asarray(value, np.float64)
    return _finite("dipole", given.reshape(3) if given.size == 3 else given, (3,))


def _tensors(value: Any, atoms: int) -> np.ndarray:
    given = np.asarray(value, np.float64)
    if given.shape == (atoms, 9):
        given = given.reshape(atoms, 3, 3)
    return _finite("born_charges", given, (atoms, 3, 3))


def _tags(value: Any, atoms: int) -> np.ndarray:
    tags = _finite("tags", value, (atoms,))
    if (tags != np.round(tags)).any() or np.abs(tags).max() > 127:
        raise RowError("tags are whole numbers between -127 and 127")
    return tags.astype(np.int8)
