"""Files of a stage: trajectory, table of observations and checkpoint."""

import csv
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase import units
from backbones import read_header

from bench.dataset.provenance import PROVENANCE_KEY, check_provenance
from bench.dynamics.engine.block import Snapshot
from bench.dynamics.study.result_files import CHECKPOINT, RESULT, write_json
from bench.exceptions import BenchError, one_line

COLUMNS: tuple[str, ...] = (
    "replica",
    "time_ps",
    "potential_eV",
    "kinetic_eV",
    "temperature_K",
    "target_temperature_K",
    "conserved_eV",
    "volume_A3",
    "pressure_GPa",
)
"""Columns of `thermo.csv`; potential energies do not include atomic energies."""

_POSITIONS, _VELOCITIES = "positions.f4", "velocities.f4"


class StageFiles:
    """Files of one stage, from which a stopped simulation can continue.

    Args:
        folder: folder of the stage; created if it does not exist.
        atoms: defines the elements of the frames.
        origin: origin of the simulation's coordinates, Å; added back to the frames of
            the trajectory, but not to the positions saved for spectra.
    """

    def __init__(self, folder: Path, atoms: ase.Atoms, *, origin: np.ndarray):
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / CHECKPOINT
        self.result = folder / RESULT
        self.thermo = folder / "thermo.csv"
        self._trajectory = folder / "trajectory.extxyz"
        self._atoms, self._origin = atoms, origin
        self._folder = folder
        self._rows: list[dict[str, float]] = []

    def create(self) -> None:
        """Creates empty files."""
        for path in self._append_mode_paths():
            path.write_text("")
        self.thermo.write_text(",".join(COLUMNS) + "\n")

    def sizes(self) -> dict[str, int]:
        """Returns the current file sizes in bytes, to be stored in the checkpoint."""
        self.flush()
        return {path.name: path.stat().st_size for path in self._append_mode_paths()}

    def truncate(self, sizes: dict[str, int]) -> None:
        """Removes what was written after a checkpoint.

        Args:
            sizes: file sizes in the checkpoint, bytes.
        """
        for path in self._append_mode_paths():
            os.truncate(path, sizes[path.name])

    def restore(
        self, load: Callable[[Path], dict[str, Any]], made_from: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Loads the checkpoint if it belongs to the same simulation.

        Args:
            load: loads the checkpoint into the engine and returns its header.
            made_from: inputs from which the checkpoint must have been made, see
                `bench.dataset.provenance`.

        Returns:
            The header of the checkpoint.

        Raises:
            BenchError: the checkpoint is damaged or was made with another model,
                structure or settings.
        """
        rerun = "rerun the same command to simulate this stage from the start"
        damaged = f"{self.checkpoint} is damaged: delete it and {rerun}."
        try:
            header = read_header(self.checkpoint)["stage_metadata"]
        except (ValueError, KeyError) as error:
            raise BenchError(damaged) from error
        remedy = (
            f"choose another folder with --out, or delete {self._folder} and rerun the "
            "same command"
        )
        check_provenance(
            str(self.checkpoint), header.get(PROVENANCE_KEY), made_from, remedy
        )
        try:
            return load(self.checkpoint)
        except ValueError as error:
            raise BenchError(damaged) from error

    def add_observation(self, values: dict[str, float]) -> None:
        """Adds a row of `thermo.csv`, which `flush` writes.

        Args:
            values: the row, by column name.
        """
        self._rows.append(values)

    def write_frame(
        self, replica: int, time: float, snapshot: Snapshot, temperature: float
    ) -> None:
        """Appends a frame of one replica to the trajectory.

        Args:
            replica: index of the replica.
            time: time since the start of the stage, ps.
            snapshot: state of all replicas.
            temperature: temperature of the replica, K.
        """
        frame = self._atoms.copy()
        positions = np.asarray(snapshot.positions[replica], np.float64)
        frame.positions = positions + self._origin
        frame.set_momenta(np.asarray(snapshot.momenta[replica], np.float64))
        if snapshot.box is not None:
            frame.cell = np.asarray(snapshot.box[replica], np.float64)
        frame.info = {
            "replica": replica,
            "time_ps": round(time, 6),
            "temperature_K": round(temperature, 2),
            "potential_eV": float(snapshot.potential[replica]),
        }
        ase.io.write(self._trajectory, frame, format="extxyz", append=True)

    def write_positions_and_velocities(
        self, positions: np.ndarray, momenta: np.ndarray
    ) -> None:
        """Appends positions and velocities of one replica, for spectra.

        Args:
            positions: relative to the origin, `(atoms, 3)`, Å.
            momenta: `(atoms, 3)`, sqrt(eV amu).
        """
        velocities = np.asarray(momenta) / self._atoms.get_masses()[:, None]
        for name, values in ((_POSITIONS, positions), (_VELOCITIES, velocities)):
            with (self._folder / name).open("ab") as file:
                file.write(np.asarray(values).astype("<f4").tobytes())

    def flush(self) -> None:
        """Writes the observations that are not on disk yet."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writerows(self._rows)
        with self.thermo.open("a") as file:
            file.write(text.getvalue())
        self._rows = []

    def finish(self, result: dict[str, Any]) -> None:
        """Writes the result of the stage atomically.

        Args:
            result: result of the stage, as JSON values.
        """
        self.flush()
        write_json(self.result, result)

    def _append_mode_paths(self) -> tuple[Path, ...]:
        names = (_POSITIONS, _VELOCITIES)
        return self._trajectory, self.thermo, *(self._folder / name for name in names)


def read_thermo(path: Path) -> dict[str, np.ndarray]:
    """Reads the columns of a `thermo.csv`, by name.

    Returns an empty dict if there are no observations.

    Args:
        path: path of the file.

    Raises:
        BenchError: the file is damaged.
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


def read_positions_and_velocities(
    folder: Path, n_atoms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads what `StageFiles.write_positions_and_velocities` has written.

    Args:
        folder: folder of the stage.
        n_atoms: number of atoms.

    Returns:
        Both as `(observations, n_atoms, 3)`; empty if the files do not exist.
    """
    paths = [folder / name for name in (_POSITIONS, _VELOCITIES)]
    if not all(path.exists() for path in paths):
        empty = np.zeros((0, n_atoms, 3), np.float32)
        return empty, empty
    positions, velocities = (np.fromfile(path, "<f4") for path in paths)
    return positions.reshape(-1, n_atoms, 3), velocities.reshape(-1, n_atoms, 3)


def kinetic_temperature(kinetic: float, degrees_of_freedom: int) -> float:
    """Returns the temperature (K) of a kinetic energy.

    Args:
        kinetic: kinetic energy, eV.
        degrees_of_freedom: number of degrees of freedom.
    """
    return 2 * kinetic / (degrees_of_freedom * units.kB)
