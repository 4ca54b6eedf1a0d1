"""What a phase leaves on disk: frames, a table of looks, a checkpoint."""

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase import units
from backbones import read_header

from bench.dataset.provenance import KEY, check_provenance, differences
from bench.dynamics.engine.block import Sample
from bench.exceptions import BenchError, one_line
from bench.files import write_text
from bench.settings.parsing import read_object

COLUMNS: tuple[str, ...] = (
    "replica",
    "time_ps",
    "potential_eV",
    "kinetic_eV",
    "temperature_K",
    "target_K",
    "conserved_eV",
    "volume_A3",
    "pressure_GPa",
)
"""Of `thermo.csv`; potential energies do not include atomic energies."""


RESULT, CHECKPOINT, RELAXATION = "result.json", "checkpoint.npz", "relaxation.json"
"""Files that hold work: what came of a pair or a phase, where it was stopped, and what
came of resting first."""

_POSITIONS, _VELOCITIES = "positions.f4", "velocities.f4"


class Recording:
    """Files of one phase that a stopped run can go on with.

    Args:
        folder: of the phase; made if it is not there.
        atoms: elements of the frames.
        origin: what the simulation subtracts from all positions, Å; added to those of
            the frames, not to the motion for spectra.
    """

    def __init__(self, folder: Path, atoms: ase.Atoms, *, origin: np.ndarray):
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / CHECKPOINT
        self.result = folder / RESULT
        self.thermo = folder / "thermo.csv"
        self._atoms, self._origin = atoms, origin
        self._folder = folder
        self._rows: list[dict[str, float]] = []

    def begin(self) -> None:
        """Empty files."""
        for path in self._files():
            path.write_text("")
        self.thermo.write_text(",".join(COLUMNS) + "\n")

    def sizes(self) -> dict[str, int]:
        """Bytes written so far, to be kept in the checkpoint."""
        self.flush()
        return {path.name: path.stat().st_size for path in self._files()}

    def cut(self, sizes: dict[str, int]) -> None:
        """Takes away what was written after a checkpoint."""
        for path in self._files():
            os.truncate(path, sizes[path.name])

    def restored(
        self, restore: Callable[[Path], dict[str, Any]], made_from: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What was kept in the checkpoint beside the engine's state.

        Args:
            restore: reads the checkpoint into the engine; gives what was kept.
            made_from: what the checkpoint must be made from, see `provenance`.

        Raises:
            BenchError: it is damaged, or of another model, structure or settings.
        """
        again = "the same command simulates this phase from its beginning"
        try:
            header = read_header(self.checkpoint)["caller"]
        except (ValueError, KeyError) as error:
            raise BenchError(
                f"{self.checkpoint} is damaged: delete it, and {again}."
            ) from error
        remedy = (
            f"choose another folder with --out, or delete {self._folder}, and {again}"
        )
        check_provenance(str(self.checkpoint), header.get(KEY), made_from, remedy)
        try:
            return restore(self.checkpoint)
        except ValueError as error:
            raise BenchError(
                f"{self.checkpoint} is damaged: delete it, and {again}."
            ) from error

    def row(self, values: dict[str, float]) -> None:
        """One look, written with the next frame."""
        self._rows.append(values)

    def frame(self, replica: int, time: float, sample: Sample, temperature: float):
        """One frame of one replica.

        Args:
            replica: its number.
            time: ps.
            sample: of all replicas.
            temperature: K.
        """
        frame = self._atoms.copy()
        found = np.asarray(sample.positions[replica], np.float64)
        frame.positions = found + self._origin
        frame.set_momenta(np.asarray(sample.momenta[replica], np.float64))
        if sample.box is not None:
            frame.cell = np.asarray(sample.box[replica], np.float64)
        frame.info = {
            "replica": replica,
            "time_ps": round(time, 6),
            "temperature_K": round(temperature, 2),
            "potential_eV": float(sample.potential[replica]),
        }
        ase.io.write(self._frames(), frame, format="extxyz", append=True)

    def motion(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        """Where the atoms of one replica are at one look, and how they move.

        Args:
            positions: from the origin, Å.
            momenta: sqrt(eV amu).
        """
        moving = np.asarray(momenta) / self._atoms.get_masses()[:, None]
        for name, values in ((_POSITIONS, positions), (_VELOCITIES, moving)):
            with (self._folder / name).open("ab") as file:
                file.write(np.asarray(values).astype("<f4").tobytes())

    def flush(self) -> None:
        """Writes the looks that are not on disk yet."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writerows(self._rows)
        with self.thermo.open("a") as file:
            file.write(text.getvalue())
        self._rows = []

    def finish(self, result: dict[str, Any]) -> None:
        """Writes the phase's result, whole or not at all."""
        self.flush()
        write_json(self.result, result)

    def _frames(self) -> Path:
        return self._folder / "trajectory.extxyz"

    def _files(self) -> tuple[Path, ...]:
        motion = (self._folder / name for name in (_POSITIONS, _VELOCITIES))
        return self._frames(), self.thermo, *motion


def is_begun(folder: Path) -> bool:
    """Whether a folder, or one in it, holds work that would be lost.

    Args:
        folder: of a phase, a pair or a study; it may not exist.
    """
    names = (RESULT, CHECKPOINT, RELAXATION)
    return any(True for name in names for _ in folder.rglob(name))


def check_claim(folder: Path, name: str, values: Mapping[str, Any], kind: str) -> None:
    """Refuses a folder with work that was made of something else.

    Args:
        folder: of a pair or a study; it may not exist.
        name: of its file that says what the work is made of.
        values: what the file has to say.
        kind: what of the work is another one; for the message.

    Raises:
        BenchError: it holds work of other values, or of values that nothing says.
    """
    if not is_begun(folder):
        return
    path, remedy = folder / name, "choose another folder with --out, or delete that one"
    if not path.exists():
        raise BenchError(
            f"{folder} holds simulations and no {name}, which says of what: {remedy}."
        )
    there = read_object(path, f"{remedy}.")
    if there != values:
        raise BenchError(
            f"{folder} holds {kind}, {differences(there, values)}: {remedy}."
        )


def read_thermo(path: Path) -> dict[str, np.ndarray]:
    """The columns of a `thermo.csv`; none if no look was taken.

    Args:
        path: of the file.
    """
    lines = path.read_text().splitlines()[1:]
    if not lines:
        return {}
    try:
        values = np.loadtxt(lines, delimiter=",", ndmin=2)
        return {name: values[:, i] for i, name in enumerate(COLUMNS)}
    except (ValueError, IndexError) as error:
        raise BenchError(
            f"{path} is damaged ({one_line(error)}): delete {path.parent} to simulate "
            "it again."
        ) from error


def read_motion(folder: Path, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """What `Recording.motion` wrote, `(looks, atoms, 3)` each; empty if nothing.

    Args:
        folder: of the phase.
        atoms: how many.
    """
    places = [folder / name for name in (_POSITIONS, _VELOCITIES)]
    if not all(place.exists() for place in places):
        return np.zeros((0, atoms, 3), np.float32), np.zeros((0, atoms, 3), np.float32)
    positions, velocities = (np.fromfile(place, "<f4") for place in places)
    return positions.reshape(-1, atoms, 3), velocities.reshape(-1, atoms, 3)


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(values, indent=1))


def kelvin(kinetic: float, freedom: int) -> float:
    """The temperature of a kinetic energy.

    Args:
        kinetic: eV.
        freedom: degrees of freedom.
    """
    return 2 * kinetic / (freedom * units.kB)
