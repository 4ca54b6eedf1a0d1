"""Simulation of one stage: time steps, stability checks and output."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
from ase import units
from backbones import Structure, read_arrays, write_arrays

from bench.dataset.provenance import PROVENANCE_KEY
from bench.dynamics.checks.stability import (
    Failure,
    Limits,
    Observation,
    StabilityMonitor,
)
from bench.dynamics.engine.block import Snapshot
from bench.dynamics.engine.engine import Engine, Programs
from bench.dynamics.engine.ensembles import (
    NPT,
    NVE,
    AtomicState,
    Conditions,
    Ensemble,
    Langevin,
    NoseHoover,
    degrees_of_freedom,
)
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.study.protocol import GPA
from bench.dynamics.study.stage_files import (
    StageFiles,
    kinetic_temperature,
    read_thermo,
)
from bench.dynamics.study.stage_result import NOT_STARTED, summarize_stage
from bench.execution.callback import Callback
from bench.settings.simulation import SimulationSettings, Stage

StageCallback = Callback[str, float, float, float]
"""Called with a stage's name, fraction completed, steps per second, temperature (K)."""


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """One structure with one potential.

    Args:
        atoms: initial structure, periodic in all directions or in none.
        interaction: potential energy of its atoms.
        forces: forces on its atoms, eV/Å, `(atoms, 3)`.
        dtype: precision of positions and momenta.
        limits: limits of a stable simulation.
        programs: compiled programs, shared by the stages.
        made_from: digests of the model, its data and split, and the structure.
    """

    atoms: ase.Atoms
    interaction: Interaction
    forces: np.ndarray
    dtype: Any = np.float32
    limits: Limits = dataclasses.field(default_factory=Limits)
    programs: Programs = dataclasses.field(default_factory=dict)
    made_from: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def origin(self) -> np.ndarray:
        """Point that the simulation subtracts from all positions, Å."""
        return Structure(self.atoms.numbers, self.atoms.positions, self.cell).origin

    @property
    def cell(self) -> np.ndarray | None:
        """Rows, Å; None means open boundaries."""
        return self.atoms.cell.array if self.atoms.pbc.all() else None


def run_stage(
    system: System,
    stage: Stage,
    settings: SimulationSettings,
    folder: Path,
    callback: StageCallback,
    *,
    start: Sequence[bool],
) -> dict[str, Any]:
    """Simulates one stage; continues bit for bit where it was stopped.

    Args:
        system: structure and potential.
        stage: stage to simulate; the stage that it follows must be finished.
        settings: settings of the simulation.
        folder: folder of the simulation; the stage writes to a subfolder.
        callback: see `StageCallback`.
        start: which replicas to start: those that did not fail in earlier stages.

    Returns:
        The result as in the `result.json` of the stage.

    Raises:
        BenchError: the checkpoint is damaged or was made by another simulation.
    """
    simulation = _StageSimulation(system, stage, settings, folder, callback)
    simulation.failures = [
        None if starts else Failure(NOT_STARTED, f"{stage.after or 'relax'} failed")
        for starts in start
    ]
    return simulation.run()


class _StageSimulation:
    def __init__(
        self,
        system: System,
        stage: Stage,
        settings: SimulationSettings,
        folder: Path,
        callback: StageCallback,
    ):
        self.system, self.stage, self.settings = system, stage, settings
        self.folder, self.callback = folder, callback
        self.steps = max(round(1000 * stage.duration_ps / settings.timestep), 1)
        self.ensemble = _ensemble(stage, settings)
        self.degrees = degrees_of_freedom(len(system.atoms), self.ensemble)
        self.monitor = StabilityMonitor(system.atoms, self.degrees, system.limits)
        self.files = StageFiles(folder / stage.name, system.atoms, origin=system.origin)
        inputs = {
            "stage": dataclasses.asdict(stage),
            **settings.model_dump(mode="json"),
        }
        self._made_from = {**system.made_from, "settings": inputs}
        count = settings.replicas
        self.failures: list[Failure | None] = [None] * count
        self.survived = [0.0] * count
        self.previous_energies: list[float | None] = [None] * count

    def run(self) -> dict[str, Any]:
        engine = self._engine()
        began, first_step = time.perf_counter(), engine.steps
        measured_from = None
        while engine.steps < self.steps and None in self.failures:
            snapshot = self._advance(engine)
            if measured_from is None:
                # The first block includes compilation; speed is measured without it.
                measured_from, first_step = time.perf_counter(), engine.steps
            observations = -(-engine.steps // self.settings.sampling_interval)
            frame_due = observations % self.settings.frame_interval == 0
            if frame_due or engine.steps >= self.steps:
                seconds = max(time.perf_counter() - measured_from, 1e-9)
                self._save(engine, snapshot, (engine.steps - first_step) / seconds)
        self.files.flush()
        self._write_end(engine)
        seconds = time.perf_counter() - (measured_from or began)
        steps = engine.steps - first_step
        n_atoms, thermo = len(self.system.atoms), read_thermo(self.files.thermo)
        result = summarize_stage(
            self.stage, n_atoms, thermo, self.survived, self.failures
        ) | {
            "n_atoms": n_atoms,
            "timestep_fs": self.settings.timestep,
            "steps_per_second": steps / seconds if steps else None,
            "seconds_to_first_block": (measured_from or began) - began,
            "compilations": engine.compilations,
        }
        self.files.finish(result)
        self.files.checkpoint.unlink(missing_ok=True)
        return result

    def _engine(self) -> Engine:
        """Returns the engine at the beginning of the stage or at its checkpoint."""
        engine = Engine(
            self.system.interaction,
            self.ensemble,
            self.system.cell,
            timestep=self.settings.timestep,
            programs=self.system.programs,
        )
        engine.start(self._initial_state(), self._conditions(0))
        if self.files.checkpoint.exists():
            header = self.files.restore(engine.restore, self._made_from)
            self.files.truncate(header["sizes"])
            self.survived = header["survived"]
            self.previous_energies = header["previous_energies"]
            self.failures = [
                None if failure is None else Failure(*failure)
                for failure in header["failures"]
            ]
        else:
            self.files.create()
        return engine

    def _initial_state(self) -> AtomicState:
        """Returns random velocities, or the end of the previous stage."""
        atoms, count = self.system.atoms, self.settings.replicas
        masses = np.stack([atoms.get_masses()[:, None]] * count)
        rng = np.random.default_rng(self.settings.seed)
        deviation = np.sqrt(masses * units.kB * self.stage.start_temperature_K)
        momenta = deviation * rng.normal(size=(count, len(atoms), 3))
        if len(atoms) > 1:
            momenta -= momenta.mean(1, keepdims=True)
        copies = lambda array: np.stack([array] * count)
        positions = copies(atoms.positions - self.system.origin)
        arrays = positions, momenta, copies(self.system.forces), masses
        initial = AtomicState(*(jnp.asarray(a, self.system.dtype) for a in arrays))
        if not self.stage.after:
            return initial
        end = read_arrays(self.folder / self.stage.after / "end.npz", initial)
        if self.ensemble.moves_center_of_mass or len(atoms) == 1:
            return end
        # Langevin dynamics moves the center of mass; here it must be at rest.
        velocity = end.momentum.sum(1, keepdims=True) / end.mass.sum(1, keepdims=True)
        return end._replace(momentum=end.momentum - end.mass * velocity)

    def _conditions(self, step: int) -> Conditions:
        kT, pressure = units.kB * self._target(step), self.settings.pressure * GPA
        return Conditions(kT, pressure)  # pyright: ignore[reportArgumentType]

    def _target(self, step: int) -> float:
        """Returns the target temperature at a step, K."""
        fraction = min(step / self.steps, 1.0)
        start, end = self.stage.start_temperature_K, self.stage.end_temperature_K
        return start + fraction * (end - start)

    def _advance(self, engine: Engine) -> Snapshot:
        """Makes the steps up to the next observation and checks every replica."""
        active = np.array([failure is None for failure in self.failures])
        steps = min(self.settings.sampling_interval, self.steps - engine.steps)
        snapshot = engine.advance(steps, self._conditions(engine.steps), active)
        target, time_ps = self._target(engine.steps), self._time(engine.steps)
        for i in np.flatnonzero(active).tolist():
            observation = self._observation(snapshot, i, target, engine.too_fast[i])
            self.files.add_observation(self._row(snapshot, i, observation, time_ps))
            if i == 0 and self.stage.ensemble == "nve":
                positions, momenta = snapshot.positions[0], snapshot.momenta[0]
                self.files.write_positions_and_velocities(
                    np.asarray(positions), np.asarray(momenta)
                )
            failure = self.monitor.failure(observation, self.previous_energies[i])
            self.failures[i] = failure
            self.previous_energies[i] = observation.potential
            if failure is None:
                self.survived[i] = time_ps
            elif failure.cause != "nan":
                self.files.write_frame(i, time_ps, snapshot, observation.temperature)
        return snapshot

    def _observation(
        self, snapshot: Snapshot, i: int, target: float, too_fast: bool
    ) -> Observation:
        box = None if snapshot.box is None else np.asarray(snapshot.box[i], np.float64)
        return Observation(
            np.asarray(snapshot.positions[i], np.float64),
            box,
            float(snapshot.potential[i]),
            kinetic_temperature(float(snapshot.kinetic[i]), self.degrees),
            target,
            bool(too_fast),
        )

    def _row(
        self, snapshot: Snapshot, i: int, observation: Observation, time_ps: float
    ) -> dict[str, float]:
        """Returns a row of `thermo.csv`."""
        box = observation.box
        return {
            "replica": int(i),
            "time_ps": round(time_ps, 6),
            "potential_eV": observation.potential,
            "kinetic_eV": float(snapshot.kinetic[i]),
            "temperature_K": observation.temperature,
            "target_temperature_K": observation.target,
            "conserved_eV": float(snapshot.conserved[i]),
            "volume_A3": np.nan if box is None else abs(float(np.linalg.det(box))),
            "pressure_GPa": float(snapshot.pressure[i]) / GPA,
        }

    def _time(self, step: int) -> float:
        return step * self.settings.timestep / 1000

    def _save(self, engine: Engine, snapshot: Snapshot, rate: float) -> None:
        """Writes frames and a checkpoint and reports the progress."""
        time_ps = self._time(engine.steps)
        for i, failure in enumerate(self.failures):
            if failure is None:
                kinetic = float(snapshot.kinetic[i])
                temperature = kinetic_temperature(kinetic, self.degrees)
                self.files.write_frame(i, time_ps, snapshot, temperature)
        header = {
            "sizes": self.files.sizes(),
            "survived": self.survived,
            "previous_energies": self.previous_energies,
            "failures": [failure and list(failure) for failure in self.failures],
            PROVENANCE_KEY: self._made_from,
        }
        engine.save(self.files.checkpoint, header)
        kinetic = float(np.mean(snapshot.kinetic))
        temperature = kinetic_temperature(kinetic, self.degrees)
        self.callback(self.stage.name, engine.steps / self.steps, rate, temperature)

    def _write_end(self, engine: Engine) -> None:
        """Writes the last state, from which later stages start."""
        last = engine.states
        end = AtomicState(last.position, last.momentum, last.force, last.mass)
        write_arrays(self.folder / self.stage.name / "end.npz", end, {})


def _ensemble(stage: Stage, settings: SimulationSettings) -> Ensemble:
    """Returns an integrator with thermostats of 100 fs and a barostat of 1 ps."""
    thermostat, barostat = 100 * units.fs, 1000 * units.fs
    return {
        "nve": NVE(),
        "langevin": Langevin(thermostat, settings.seed),
        "nose-hoover": NoseHoover(thermostat),
        "npt": NPT(thermostat, barostat),
    }[stage.ensemble]
