"""DeePMD's folders of npy files: `type.raw`, `type_map.raw` and `set.*`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers

from .._errors import BenchError, in_short
from ._reading import Geometry, Reading, read_row
from ._row import Rejected, Row
from ._source import Unit, attempt, blocks

LABELS = {"energy": "energy", "force": "forces", "virial": "stress"}


class DeepMD(NamedTuple):
    """Systems of DeePMD, eV and Å; the frames of a system are one group."""

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
        system = place.parent
        numbers = _species(system)
        given = ("coord", "box", *LABELS)
        arrays = {k: _array(place, k) for k in given if (place / f"{k}.npy").exists()}
        periodic = not (system / "nopbc").exists() and "box" in arrays
        for i in range(unit.start, unit.stop):
            where = f"Frame {i} of {place}"
            yield attempt(where, self._row, system, place, numbers, arrays, i, periodic)

    def _row(self, system, place, numbers, arrays, i: int, periodic: bool) -> Row:
        own = {k: np.array(v[i], float) for k, v in arrays.items()}
        cell = own["box"].reshape(3, 3) if periodic else None
        values: dict[str, Any] = {LABELS[k]: v for k, v in own.items() if k in LABELS}
        if "forces" in values:
            values["forces"] = values["forces"].reshape(-1, 3)
        if "stress" in values and cell is not None:
            values["stress"] = -values["stress"].reshape(3, 3) / abs(
                np.linalg.det(cell)
            )
        return read_row(
            Geometry(numbers, own["coord"].reshape(-1, 3), cell, periodic),
            values,
            self.reading,
            id=f"{system.name}/{place.name}/{i:07d}",
            group=system.name,
        )


def _array(place: Path, name: str) -> np.ndarray:
    path = place / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(
            f"{path} cannot be read as npy ({in_short(error)}): fetch it again."
        ) from error


def _species(system: Path) -> np.ndarray:
    """Atomic numbers of a system, by its map of types."""
    try:
        types = np.array((system / "type.raw").read_text().split(), int)
        symbols = (system / "type_map.raw").read_text().split()
        return np.array([atomic_numbers[symbols[t]] for t in types])
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise BenchError(
            f"{system} needs `type.raw` with a type for each atom and `type_map.raw` "
            f"with an element for each type ({type(error).__name__}: "
            f"{in_short(error)})."
        ) from error
