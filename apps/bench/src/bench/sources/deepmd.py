"""Reader of DeePMD systems: folders with `type.raw`, `type_map.raw` and `set.*/*.npy`.

In the mixed-type format the types differ between frames (`real_atom_types.npy`).
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.symbols import Symbols

from bench.exceptions import BenchError, one_line
from bench.settings.reading import DEFAULT_KEYS, ReadOptions
from bench.sources.elements import ATOMIC_NUMBERS
from bench.sources.row import Rejected, Row, RowError
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import (
    RowRange,
    build_or_reject,
    split_into_ranges,
    unique_names,
)

LABELS_BY_FILE = {"energy": "energy", "force": "forces", "virial": "virial"}
LABEL_KEYS = {
    **dict.fromkeys(DEFAULT_KEYS, ()),
    **{label: (label,) for label in LABELS_BY_FILE.values()},
}
"""Other arrays have no default keys: `spin.npy` contains one vector per atom."""


class DeepMD(NamedTuple):
    """DeePMD systems in eV and Å; the frames of a system form one group.

    In the mixed-type format, the frames of one composition form a group.
    """

    files: tuple[Path, ...]
    """The `coord.npy` files of all sets."""
    options: ReadOptions
    format: str = "deepmd"

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges of the frames of each set."""
        ranges = []
        for path in self.files:
            ranges += split_into_ranges(
                str(path.parent), len(_array(path.parent, "coord"))
            )
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the frames of a range."""
        directory = Path(row_range.path)
        frames = _open_set(directory)
        for i in range(row_range.start, row_range.stop):
            yield build_or_reject(f"Frame {i} of {directory}", self._row, frames, i)

    def _system_name(self, system: Path) -> str:
        systems = tuple(dict.fromkeys(path.parent.parent for path in self.files))
        return unique_names(systems, _folder_name)[system]

    def _row(self, frames: "FrameSet", i: int) -> Row:
        arrays = {k: np.array(v[i], float) for k, v in frames.arrays.items()}
        numbers, mask = frames.numbers(i)
        cell = arrays["box"].reshape(3, 3) if frames.periodic else None
        values: dict[str, Any] = {
            LABELS_BY_FILE[k]: v for k, v in arrays.items() if k in LABELS_BY_FILE
        }
        if "forces" in values:
            values["forces"] = values["forces"].reshape(-1, 3)[mask]
        if mask.all():
            values |= {k: _per_atom(arrays[k], len(numbers)) for k in frames.others}
        system = self._system_name(frames.directory.parent)
        # A mixed system holds all compositions of one size, so it is not one material.
        formula = f"/{Symbols(numbers).get_chemical_formula()}" if frames.mixed else ""
        return build_row(
            Geometry(
                numbers, arrays["coord"].reshape(-1, 3)[mask], cell, frames.periodic
            ),
            values,
            self.options,
            id=f"{system}/{frames.directory.name}/{i:07d}",
            group=system + formula,
            default_keys=LABEL_KEYS,
        )


class FrameSet(NamedTuple):
    """The frames of one set.

    Args:
        directory: directory of the set.
        elements: atomic number of each type.
        types: types of the atoms, `(atoms,)` or `(frames, atoms)`; -1 is padding.
        arrays: arrays of the set by file name, one row per frame.
        others: names of the arrays that are read only if the user gives their key.
    """

    directory: Path
    elements: np.ndarray
    types: np.ndarray
    arrays: dict[str, np.ndarray]
    others: tuple[str, ...] = ()

    @property
    def periodic(self) -> bool:
        """Whether the frames have a cell."""
        return "box" in self.arrays and not (self.directory.parent / "nopbc").exists()

    @property
    def mixed(self) -> bool:
        """Whether the types differ between frames."""
        return self.types.ndim == 2

    def numbers(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns atomic numbers of a frame, and the mask of slots that are atoms.

        Raises:
            RowError: a type has no element.
        """
        types = np.asarray(self.types[i] if self.mixed else self.types)
        _check_types(types, self.elements)
        return self.elements[types[types >= 0]], types >= 0


def _check_types(types: np.ndarray, elements: np.ndarray) -> None:
    last = len(elements) - 1
    if types.dtype.kind not in "iu" or ((types < -1) | (types > last)).any():
        raise RowError(
            f"its types must be integers from 0 to {last}, the elements of "
            f"`type_map.raw`, or -1 for no atom; got {types.min()} to {types.max()}"
        )


def _open_set(directory: Path) -> FrameSet:
    """Opens a set of frames.

    Raises:
        BenchError: arrays or types are missing or inconsistent.
    """
    names = ("coord", "box", *LABELS_BY_FILE)
    arrays = {
        k: _array(directory, k) for k in names if (directory / f"{k}.npy").exists()
    }
    types, elements = _types(directory.parent), _elements(directory.parent)
    if (directory / "real_atom_types.npy").exists():
        frame_types = _array(directory, "real_atom_types")
        if frame_types.shape[1:] != types.shape:
            raise BenchError(
                f"{directory / 'real_atom_types.npy'} has shape "
                f"{frame_types.shape}, expected {len(types)} types per frame, as many "
                "as in `type.raw`."
            )
        arrays["real_atom_types"] = types = frame_types
    else:
        try:
            _check_types(types, elements)
        except RowError as error:
            raise _incomplete(directory.parent, error) from error
    count = len(arrays["coord"])
    for name, array in arrays.items():
        if len(array) != count:
            raise BenchError(
                f"{directory / name}.npy has {len(array)} rows, but coord.npy has "
                f"{count} frames: download the set again."
            )
    others = _other_arrays(directory, arrays, count)
    return FrameSet(directory, elements, types, arrays | others, tuple(others))


def _other_arrays(
    directory: Path, names_read: Collection[str], count: int
) -> dict[str, np.ndarray]:
    """Returns the other numeric arrays of a set that have one row per frame."""
    names = sorted(path.stem for path in directory.glob("*.npy"))
    arrays = {}
    for name in names:
        try:
            array = _array(directory, name)
        except BenchError:  # not readable, such as strings stored as objects
            continue
        is_numeric = array.dtype.kind in "iuf" and array.shape[:1] == (count,)
        if is_numeric and name not in names_read:
            arrays[name] = array
    return arrays


def _per_atom(value: np.ndarray, atoms: int) -> float | np.ndarray:
    """Returns a scalar, or one row per atom if the size allows it."""
    if value.size == 1:
        return value.item()
    if value.size % atoms:
        return value
    rows = value.reshape(atoms, -1)
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _folder_name(path: Path) -> str:
    return path.name or path.resolve().name


def _array(directory: Path, name: str) -> np.ndarray:
    path = directory / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(
            f"{path} cannot be read as npy ({one_line(error)}): download it again."
        ) from error


def _types(system: Path) -> np.ndarray:
    """Returns the type of each atom."""
    try:
        return np.array((system / "type.raw").read_text().split(), int)
    except (OSError, ValueError) as error:
        raise _incomplete(system, error) from error


def _elements(system: Path) -> np.ndarray:
    """Returns the atomic number of each type."""
    try:
        symbols = (system / "type_map.raw").read_text().split()
        return np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols])
    except (OSError, ValueError, KeyError) as error:
        raise _incomplete(system, error) from error


def _incomplete(system: Path, error: Exception) -> BenchError:
    return BenchError(
        f"{system} needs `type.raw` with one type per atom and `type_map.raw` with one "
        f"element per type ({type(error).__name__}: {one_line(error)})."
    )
