"""One phase: moves the atoms, looks at them, writes what it saw."""

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

from bench.dataset.provenance import KEY
from bench.dynamics.checks.causes import Failure, Limits, Look, Watch
from bench.dynamics.engine.block import Sample
from bench.dynamics.engine.engine import Engine, Programs
from bench.dynamics.engine.ensembles import (
    NPT,
    NVE,
    Ensemble,
    Langevin,
    Moving,
    NoseHoover,
    Targets,
    freedom,
)
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.study.outcome import NOT_STARTED, phase_outcome
from bench.dynamics.study.protocol import GPA, Phase, Settings
from bench.dynamics.study.recording import Recording, kelvin, read_thermo
from bench.execution.callback import Callback

PhaseCallback = Callback[str, float, float, float]
"""Called with a phase's name, fraction completed, steps per second, temperature (K)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One structure in one potential.

    Args:
        atoms: intact; periodic in all directions or in none.
        interaction: of its atoms.
        forces: on them, eV/Å, `(atoms, 3)`.
        dtype: precision of positions and momenta.
        limits: what is still a simulation.
        programs: compiled ones, shared by the phases.
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
        """What the simulation subtracts from all positions, Å."""
        return Structure(self.atoms.numbers, self.atoms.positions, self.cell).origin

    @property
    def cell(self) -> np.ndarray | None:
        """Rows, Å; None means open boundaries."""
        return self.atoms.cell.array if self.atoms.pbc.all() else None


def run_phase(
    subject: Subject,
    phase: Phase,
    settings: Settings,
    folder: Path,
    callback: PhaseCallback,
    *,
    start: Sequence[bool],
) -> dict[str, Any]:
    """Simulates one phase, or goes on where it was stopped, to the bit.

    Args:
        subject: structure and potential.
        phase: what to do; that which it comes after is finished.
        settings: chosen.
        folder: of the structure; the phase has one of its own in it.
        callback: see `PhaseCallback`.
        start: which replicas the phases before left intact.

    Returns:
        Of every replica how long it went well, and why not longer.
    """
    simulation = _Simulation(subject, phase, settings, folder, callback)
    simulation.failures = [
        None if intact else Failure(NOT_STARTED, f"{phase.after or 'relax'} failed")
        for intact in start
    ]
    return simulation.result()


class _Simulation:
    def __init__(
        self, subject: Subject, phase: Phase, settings: Settings, folder, callback
    ):
        self.subject, self.phase, self.settings = subject, phase, settings
        self.folder, self.callback = folder, callback
        self.steps = max(round(1000 * phase.picoseconds / settings.timestep), 1)
        self.ensemble = _ensemble(phase, settings)
        self.freedom = freedom(len(subject.atoms), self.ensemble)
        self.watch = Watch(subject.atoms, self.freedom, subject.limits)
        self.recording = Recording(
            folder / phase.name, subject.atoms, origin=subject.origin
        )
        facts = {"phase": dataclasses.asdict(phase), **dataclasses.asdict(settings)}
        self._made_from = {**subject.made_from, "settings": facts}
        count = settings.replicas
        self.failures: list[Failure | None] = [None] * count
        self.survived = [0.0] * count
        self.before: list[float | None] = [None] * count

    def result(self) -> dict[str, Any]:
        engine = self._engine()
        began, first = time.perf_counter(), engine.steps
        clock = None
        while engine.steps < self.steps and None in self.failures:
            sample = self._look(engine)
            if clock is None:
                # The first block is compiled; the others say how fast it is.
                clock, first = time.perf_counter(), engine.steps
            looks = -(-engine.steps // self.settings.looks)
            if looks % self.settings.frames == 0 or engine.steps >= self.steps:
                seconds = time.perf_counter() - clock
                self._keep(engine, sample, (engine.steps - first) / max(seconds, 1e-9))
        self.recording.flush()
        self._leave(engine)
        spent = time.perf_counter() - (clock or began)
        made = engine.steps - first
        atoms, thermo = len(self.subject.atoms), read_thermo(self.recording.thermo)
        outcome = phase_outcome(self.phase, atoms, thermo, self.survived, self.failures)
        found = outcome | {
            "atoms": atoms,
            "timestep_fs": self.settings.timestep,
            "steps_per_second": made / spent if made else None,
            "seconds_to_first_block": (clock or began) - began,
            "programs": engine.compilations,
        }
        self.recording.finish(found)
        self.recording.checkpoint.unlink(missing_ok=True)
        return found

    def _engine(self) -> Engine:
        engine = Engine(
            self.subject.interaction,
            self.ensemble,
            self.subject.cell,
            timestep=self.settings.timestep,
            programs=self.subject.programs,
        )
        engine.start(self._beginning(), self._targets(0))
        if self.recording.checkpoint.exists():
            kept = self.recording.restored(engine.restore, self._made_from)
            self.recording.cut(kept["sizes"])
            self.survived, self.before = kept["survived"], kept["before"]
            self.failures = [
                None if f is None else Failure(*f) for f in kept["failures"]
            ]
        else:
            self.recording.begin()
        return engine

    def _beginning(self) -> Moving:
        """Fresh velocities, or where the phase before ended."""
        atoms, count = self.subject.atoms, self.settings.replicas
        masses = np.stack([atoms.get_masses()[:, None]] * count)
        rng = np.random.default_rng(self.settings.seed)
        spread = np.sqrt(masses * units.kB * self.phase.start)
        momenta = spread * rng.normal(size=(count, len(atoms), 3))
        if len(atoms) > 1:
            momenta -= momenta.mean(1, keepdims=True)
        copies = lambda array: np.stack([array] * count)
        places = copies(atoms.positions - self.subject.origin)
        values = places, momenta, copies(self.subject.forces), masses
        fresh = Moving(*(jnp.asarray(v, self.subject.dtype) for v in values))
        if not self.phase.after:
            return fresh
        start = read_arrays(self.folder / self.phase.after / "end.npz", fresh)
        if self.ensemble.frees_centre or len(atoms) == 1:
            return start
        # With friction and noise the whole has moved; here it is at rest.
        drifting = start.momentum.sum(1, keepdims=True) / start.mass.sum(
            1, keepdims=True
        )
        return start._replace(momentum=start.momentum - start.mass * drifting)

    def _targets(self, step: int) -> Targets:
        kT, pressure = units.kB * self._target(step), self.settings.pressure * GPA
        return Targets(kT, pressure)  # pyright: ignore[reportArgumentType]

    def _target(self, step: int) -> float:
        share = min(step / self.steps, 1.0)
        return self.phase.start + share * (self.phase.end - self.phase.start)

    def _look(self, engine: Engine) -> Sample:
        """Some steps, and what there is to say of every replica that goes on."""
        going = np.array([failure is None for failure in self.failures])
        steps = min(self.settings.looks, self.steps - engine.steps)
        sample = engine.advance(steps, self._targets(engine.steps), going)
        target, time_ps = self._target(engine.steps), self._time(engine.steps)
        for i in np.flatnonzero(going).tolist():
            look = self._seen(sample, i, target, engine.stuck[i])
            self.recording.row(self._row(sample, i, look, time_ps))
            if i == 0 and self.phase.ensemble == "nve":
                where, how = sample.positions[0], sample.momenta[0]
                self.recording.motion(np.asarray(where), np.asarray(how))
            failure = self.watch.failure(look, self.before[i])
            self.failures[i], self.before[i] = failure, look.potential
            if failure is None:
                self.survived[i] = time_ps
            elif failure.cause != "nan":
                self.recording.frame(i, time_ps, sample, look.temperature)
        return sample

    def _seen(self, sample: Sample, i: int, target: float, stuck: bool) -> Look:
        box = None if sample.box is None else np.asarray(sample.box[i], np.float64)
        return Look(
            np.asarray(sample.positions[i], np.float64),
            box,
            float(sample.potential[i]),
            kelvin(float(sample.kinetic[i]), self.freedom),
            target,
            bool(stuck),
        )

    def _row(self, sample: Sample, i: int, look: Look, time_ps: float):
        volume = np.nan if look.box is None else abs(float(np.linalg.det(look.box)))
        return {
            "replica": int(i),
            "time_ps": round(time_ps, 6),
            "potential_eV": look.potential,
            "kinetic_eV": float(sample.kinetic[i]),
            "temperature_K": look.temperature,
            "target_K": look.target,
            "conserved_eV": float(sample.conserved[i]),
            "volume_A3": volume,
            "pressure_GPa": float(sample.pressure[i]) / GPA,
        }

    def _time(self, step: int) -> float:
        return step * self.settings.timestep / 1000

    def _keep(self, engine: Engine, sample: Sample, rate: float) -> None:
        """Frames, a checkpoint, a word."""
        time_ps = self._time(engine.steps)
        for i, failure in enumerate(self.failures):
            if failure is None:
                warmth = kelvin(float(sample.kinetic[i]), self.freedom)
                self.recording.frame(i, time_ps, sample, warmth)
        failures = [f and list(f) for f in self.failures]
        kept = {"sizes": self.recording.sizes(), "survived": self.survived}
        kept |= {"before": self.before, "failures": failures, KEY: self._made_from}
        engine.save(self.recording.checkpoint, kept)
        warmth = kelvin(float(np.mean(sample.kinetic)), self.freedom)
        self.callback(self.phase.name, engine.steps / self.steps, rate, warmth)

    def _leave(self, engine: Engine) -> None:
        """The last frame, for phases that come after."""
        last = engine.states
        end = Moving(last.position, last.momentum, last.force, last.mass)
        write_arrays(self.folder / self.phase.name / "end.npz", end, {})


def _ensemble(phase: Phase, settings: Settings) -> Ensemble:
    """Thermostats of 100 fs, a barostat of 1 ps."""
    fast, slow = 100 * units.fs, 1000 * units.fs
    return {
        "nve": NVE(),
        "langevin": Langevin(fast, settings.seed),
        "nose-hoover": NoseHoover(fast),
        "npt": NPT(fast, slow),
    }[phase.ensemble]
