"""DeePMD's folders of npy files: `type.raw`, `type_map.raw` and `set.*`.

In the mixed form each frame has types of its own (`real_atom_types.npy`).
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.symbols import Symbols

from bench.exceptions import BenchError, one_line
from bench.sources.elements import KNOWN
from bench.sources.reading import DEFAULTS, Geometry, Reading, read_row
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import Unit, attempt, blocks, names_of

LABELS = {"energy": "energy", "force": "forces", "virial": "virial"}
NAMES = {
    **dict.fromkeys(DEFAULTS, ()),
    **{label: (label,) for label in LABELS.values()},
}
"""Other arrays are read where they are asked for: `spin.npy` holds vectors of atoms."""


class DeepMD(NamedTuple):
    """Systems of DeePMD, eV and Å; the frames of a system are one group.

    In the mixed form those of one composition are.
    """

    files: tuple[Path, ...]
    """The `coord.npy` of every set."""
    reading: Reading
    format: str = "deepmd"

    def units(self) -> list[Unit]:
        """Stretches of sets."""
        found = []
        for path in self.files:
            found += blocks(str(path.parent), len(_array(path.parent, "coord")))
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The frames of a stretch of a set."""
        place = Path(unit.path)
        frames = _frames(place)
        for i in range(unit.start, unit.stop):
            yield attempt(f"Frame {i} of {place}", self._row, frames, i)

    def _name(self, system: Path) -> str:
        """A name of its own for each system."""
        systems = tuple(dict.fromkeys(path.parent.parent for path in self.files))
        return names_of(systems, _folder_name)[system]

    def _row(self, frames: "Frames", i: int) -> Row:
        own = {k: np.array(v[i], float) for k, v in frames.arrays.items()}
        numbers, real = frames.numbers(i)
        cell = own["box"].reshape(3, 3) if frames.periodic else None
        values: dict[str, Any] = {LABELS[k]: v for k, v in own.items() if k in LABELS}
        if "forces" in values:
            values["forces"] = values["forces"].reshape(-1, 3)[real]
        if real.all():
            values |= {k: _of_atoms(own[k], len(numbers)) for k in frames.others}
        system = self._name(frames.place.parent)
        # A mixed system holds all compositions of one size: they are not one material.
        formula = f"/{Symbols(numbers).get_chemical_formula()}" if frames.mixed else ""
        return read_row(
            Geometry(numbers, own["coord"].reshape(-1, 3)[real], cell, frames.periodic),
            values,
            self.reading,
            id=f"{system}/{frames.place.name}/{i:07d}",
            group=system + formula,
            defaults=NAMES,
        )


class Frames(NamedTuple):
    """The frames of a set.

    Args:
        place: folder of the set.
        elements: atomic numbers by type.
        types: of the atoms of each frame, or of all frames; -1 is no atom but padding.
        arrays: by name, a row for each frame.
        others: names of those that are not read unless they are asked for.
    """

    place: Path
    elements: np.ndarray
    types: np.ndarray
    arrays: dict[str, np.ndarray]
    others: tuple[str, ...] = ()

    @property
    def periodic(self) -> bool:
        """Whether the frames have a cell."""
        return "box" in self.arrays and not (self.place.parent / "nopbc").exists()

    @property
    def mixed(self) -> bool:
        """Whether each frame has types of its own."""
        return self.types.ndim == 2

    def numbers(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Atomic numbers of a frame, and which of its slots hold them.

        Raises:
            RowError: a type has no element.
        """
        types = np.asarray(self.types[i] if self.mixed else self.types)
        _check(types, self.elements)
        return self.elements[types[types >= 0]], types >= 0


def _check(types: np.ndarray, elements: np.ndarray) -> None:
    last = len(elements) - 1
    if types.dtype.kind not in "iu" or ((types < -1) | (types > last)).any():
        raise RowError(
            f"its types must be whole numbers from 0 to {last}, the elements of "
            f"`type_map.raw`, or -1 for no atom; got {types.min()} to {types.max()}"
        )


def _frames(place: Path) -> Frames:
    """Opens a set.

    Raises:
        BenchError: arrays or types are missing or do not fit together.
    """
    names = ("coord", "box", *LABELS)
    arrays = {k: _array(place, k) for k in names if (place / f"{k}.npy").exists()}
    types, elements = _types(place.parent), _elements(place.parent)
    if (place / "real_atom_types.npy").exists():
        own = _array(place, "real_atom_types")
        if own.shape[1:] != types.shape:
            raise BenchError(
                f"{place / 'real_atom_types.npy'} has shape {own.shape}, expected a "
                f"row of {len(types)} types for each frame, as many as `type.raw` has."
            )
        arrays["real_atom_types"] = types = own
    else:
        try:
            _check(types, elements)
        except RowError as error:
            raise _incomplete(place.parent, error) from error
    count = len(arrays["coord"])
    for name, array in arrays.items():
        if len(array) != count:
            raise BenchError(
                f"{place / name}.npy has {len(array)} rows, but coord.npy has {count} "
                "frames: fetch the set again."
            )
    others = _others(place, arrays, count)
    return Frames(place, elements, types, arrays | others, tuple(others))


def _others(place: Path, known: Collection[str], count: int) -> dict[str, np.ndarray]:
    """What a set has besides: numbers, a row for each frame."""
    names = sorted(path.stem for path in place.glob("*.npy"))
    found = {}
    for name in names:
        try:
            array = _array(place, name)
        except BenchError:  # of no use to us, such as words stored as objects
            continue
        numbers = array.dtype.kind in "iuf" and array.shape[:1] == (count,)
        if numbers and name not in known:
            found[name] = array
    return found


def _of_atoms(value: np.ndarray, atoms: int) -> float | np.ndarray:
    """One number, or a row for each atom where the numbers can be that."""
    if value.size == 1:
        return value.item()
    if value.size % atoms:
        return value
    rows = value.reshape(atoms, -1)
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _folder_name(path: Path) -> str:
    return path.name or path.resolve().name


def _array(place: Path, name: str) -> np.ndarray:
    path = place / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(
            f"{path} cannot be read as npy ({one_line(error)}): fetch it again."
        ) from error


def _types(system: Path) -> np.ndarray:
    """The type of each atom."""
    try:
        return np.array((system / "type.raw").read_text().split(), int)
    except (OSError, ValueError) as error:
        raise _incomplete(system, error) from error


def _elements(system: Path) -> np.ndarray:
    """The atomic number of each type."""
    try:
        symbols = (system / "type_map.raw").read_text().split()
        return np.array([KNOWN[symbol] for symbol in symbols])
    except (OSError, ValueError, KeyError) as error:
        raise _incomplete(system, error) from error


def _incomplete(system: Path, error: Exception) -> BenchError:
    return BenchError(
        f"{system} needs `type.raw` with a type for each atom and `type_map.raw` with "
        f"an element for each type ({type(error).__name__}: {one_line(error)})."
    )
