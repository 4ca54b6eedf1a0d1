"""One labeled structure of a source, validated."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from bench.labels import LABELS, Label, Labeled

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
class Row(Labeled):
    """One labeled structure in eV, Å and e.

    Args:
        id: unique in the source.
        group: material or molecule; splits do not separate rows of one group.
        numbers: atomic numbers, `(atoms,)`.
        positions: positions of the atoms, Å, `(atoms, 3)`.
        cell: lattice vectors as rows, Å, `(3, 3)`; None for open boundaries.
        labels: values by name, see `bench.labels`, in the units there; those that are
            undefined for the boundaries of the structure are dropped.
        info: scalars and strings of the source, for recipes; not stored.
        available_keys: keys of all values that the source has for this structure.
        label_keys: the key of each label in the source.
    """

    id: str
    group: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
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
        boundaries = "open" if self.cell is None else "periodic"
        set_field(
            "labels",
            {
                name: _checked_label(LABELS[name], value, atoms)
                for name, value in self.labels.items()
                if value is not None and LABELS[name].boundaries in (None, boundaries)
            },
        )

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


def _numbers(name: str, value: Any) -> np.ndarray:
    if isinstance(value, bool | np.bool_):
        raise RowError(f"{name} is not numeric: {value!r}")
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise RowError(f"{name} is not numeric: {str(value)[:40]!r}") from None


def _finite_array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _numbers(name, value)
    if array.size == 1 and shape == ():
        array = array.reshape(())
    if array.shape != shape:
        remedy = f'; keys.{name}="" leaves it out' if name in LABELS else ""
        raise RowError(f"{name} has shape {array.shape}, expected {shape}{remedy}")
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


def _checked_label(label: Label, value: Any, atoms: int) -> Any:
    """Returns the value of a label: a number, or an array of its shape."""
    shape = (atoms, *label.shape) if label.per_atom else label.shape
    given = _numbers(label.name, value)
    if label.shape == (6,) and given.size == 9:
        given = _voigt(label.name, given.reshape(3, 3))
    elif label.per_atom and given.shape == (atoms, math.prod(label.shape)):
        given = given.reshape(shape) if label.shape else given
    elif not label.per_atom and given.shape in ((1, *shape), (*shape, 1)):
        given = given.reshape(shape)
    checked = _finite_array(label.name, given, shape)
    if label.limits:
        low, high = label.limits
        if (checked != np.round(checked)).any() or not (
            low <= checked.min() and checked.max() <= high
        ):
            raise RowError(
                f"{label.name} must be {'integers' if shape else 'an integer'} between "
                f"{low} and {high}, got {str(checked)[:40]}"
            )
        checked = checked.astype(label.dtype)
    return checked if shape else checked.item()


def _voigt(name: str, tensor: np.ndarray) -> np.ndarray:
    tolerance = 1e-4 * (1e-3 + np.abs(tensor).max())
    if not np.allclose(tensor, tensor.T, atol=tolerance):
        raise RowError(f"{name} is not symmetric")
    return full_3x3_to_voigt_6_stress(tensor)
