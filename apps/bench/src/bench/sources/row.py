"""One labeled structure of a source, validated."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

MAX_ID_LENGTH = 400
"""Characters of an id or a group name."""

MAX_COORDINATE = 1e8
"""Å; distances between atoms farther from the origin lose their eighth digit."""


class RowError(ValueError):
    """Raised if a structure cannot be used; the message is a short reason."""


class Rejected(NamedTuple):
    """A structure that cannot be used, and the reason."""

    location: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One labeled structure in eV, Å and e; labels that the source lacks are None.

    Args:
        id: unique in the source.
        group: material or molecule; splits do not separate rows of one group.
        numbers: atomic numbers, `(atoms,)`.
        positions: positions of the atoms, Å, `(atoms, 3)`.
        cell: lattice vectors as rows, Å, `(3, 3)`; None for open boundaries.
        total_charge: total charge, e.
        spin: multiplicity 2S + 1.
        energy: total energy, eV.
        forces: forces on the atoms, eV/Å, `(atoms, 3)`.
        stress: stress, eV/Å^3, ASE's sign and Voigt order, `(6,)`.
        charges: atomic charges, e, `(atoms,)`.
        dipole: dipole relative to the center of mass, e Å, `(3,)`; open boundaries
            only.
        born_charges: Born charges, e, [atom, direction of polarization, direction of
            displacement].
        tags: small integers that mark atoms, `(atoms,)`.
        info: scalars and strings of the source, for recipes; not stored.
        available_keys: keys of all values that the source has for this structure.
        label_keys: the key of each label in the source.
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
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    available_keys: tuple[str, ...] = ()
    label_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        set_field = lambda name, value: object.__setattr__(self, name, value)
        numbers = _checked_numbers(self.numbers)
        atoms = len(numbers)
        set_field("id", _checked_name("id", self.id))
        set_field("group", _checked_name("group", self.group))
        set_field("numbers", numbers)
        set_field("positions", _checked_positions(self.positions, atoms))
        if self.cell is not None:
            set_field("cell", _checked_cell(self.cell))
        for name in ("total_charge", "energy"):
            if getattr(self, name) is not None:
                set_field(name, float(_finite_array(name, getattr(self, name), ())))
        if self.spin is not None:
            set_field("spin", _checked_spin(self.spin))
        for name, shape in (("forces", (atoms, 3)), ("charges", (atoms,))):
            if getattr(self, name) is not None:
                set_field(name, _finite_array(name, getattr(self, name), shape))
        if self.stress is not None:
            set_field(
                "stress", None if self.cell is None else _checked_stress(self.stress)
            )
        if self.dipole is not None:
            set_field(
                "dipole",
                None if self.cell is not None else _checked_dipole(self.dipole),
            )
        if self.born_charges is not None:
            set_field("born_charges", _checked_born_charges(self.born_charges, atoms))
        if self.tags is not None:
            set_field("tags", _checked_tags(self.tags, atoms))

    def __len__(self):
        return len(self.numbers)

    @property
    def is_isolated_atom(self) -> bool:
        """Whether this is a free atom: open boundaries, or `config_type=IsolatedAtom`.

        A single atom in a cell is otherwise a crystal.
        """
        kind = str(self.info.get("config_type", "")).replace("_", "").lower()
        return len(self) == 1 and (self.cell is None or kind == "isolatedatom")


def _checked_name(kind: str, value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    if not text or not text.isprintable() or len(text) > MAX_ID_LENGTH:
        raise RowError(
            f"its {kind} must be 1 to {MAX_ID_LENGTH} printable characters, got "
            f"{text[:40]!r}"
        )
    return text


def _checked_numbers(value: Any) -> np.ndarray:
    given = np.asarray(value)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iuf":
        raise RowError(
            f"atomic numbers have shape {given.shape} and type {given.dtype}, "
            "expected one integer per atom"
        )
    # Negated, so that NaN is rejected as well.
    if not (given.min() >= 1 and given.max() <= 118):
        raise RowError(
            f"atomic numbers must be between 1 and 118, got {given.min()} to "
            f"{given.max()}"
        )
    if given.dtype.kind == "f" and (given != np.round(given)).any():
        raise RowError("atomic numbers are not integers")
    return given.astype(np.int32)


def _finite_array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(value, bool | np.bool_):
        raise RowError(f"{name} is not numeric: {value!r}")
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise RowError(f"{name} is not numeric: {str(value)[:40]!r}") from None
    if array.size == 1 and shape == ():
        array = array.reshape(())
    if array.shape != shape:
        raise RowError(f"{name} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise RowError(f"{name} is not finite")
    return array


def _checked_positions(value: Any, atoms: int) -> np.ndarray:
    positions = np.asarray(value, np.float64)
    if positions.shape != (atoms, 3):
        raise RowError(
            f"positions have shape {positions.shape}, expected {(atoms, 3)} for "
            f"{atoms} atomic numbers"
        )
    bad = np.flatnonzero(~np.isfinite(positions).all(1))
    if len(bad):
        raise RowError(
            f"the position of atom {bad[0]} is not finite: {positions[bad[0]].tolist()}"
        )
    far = np.flatnonzero((np.abs(positions) > MAX_COORDINATE).any(1))
    if len(far):
        raise RowError(
            f"atom {far[0]} is more than {MAX_COORDINATE:g} Å from the origin: "
            f"{positions[far[0]].tolist()}"
        )
    return positions


def _checked_cell(value: Any) -> np.ndarray:
    cell = _finite_array("cell", value, (3, 3))
    # Plain floats: NumPy takes as long for nine numbers as for all atoms.
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


def _checked_spin(value: Any) -> int:
    spin = _finite_array("spin", value, ())
    if spin < 0 or spin != np.round(spin) or spin > 1000:
        raise RowError(f"spin must be a multiplicity, an integer from 1 on, got {spin}")
    return int(spin)


def _checked_stress(value: Any) -> np.ndarray:
    given = np.asarray(value, np.float64)
    if given.size == 9:
        full = given.reshape(3, 3)
        if not np.allclose(full, full.T, atol=1e-4 * (1e-3 + np.abs(full).max())):
            raise RowError("stress is not symmetric")
        given = full_3x3_to_voigt_6_stress(full)
    return _finite_array("stress", given, (6,))


def _checked_dipole(value: Any) -> np.ndarray:
    given = np.asarray(value, np.float64)
    return _finite_array("dipole", given.reshape(3) if given.size == 3 else given, (3,))


def _checked_born_charges(value: Any, atoms: int) -> np.ndarray:
    given = np.asarray(value, np.float64)
    if given.shape == (atoms, 9):
        given = given.reshape(atoms, 3, 3)
    return _finite_array("born_charges", given, (atoms, 3, 3))


def _checked_tags(value: Any, atoms: int) -> np.ndarray:
    tags = _finite_array("tags", value, (atoms,))
    if (tags != np.round(tags)).any() or np.abs(tags).max() > 127:
        raise RowError("tags must be integers between -127 and 127")
    return tags.astype(np.int8)
