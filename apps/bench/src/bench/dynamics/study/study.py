"""Simulations of structures with models, in one or several processes."""

import dataclasses
import multiprocessing
import multiprocessing.connection
import queue
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import ase
import filelock
import jax

from bench.dynamics.study.folders import claim_folder, has_results
from bench.dynamics.study.models import open_model
from bench.dynamics.study.observables import RadialDistribution, radial_distribution
from bench.dynamics.study.result_files import RESULT, read_simulation
from bench.dynamics.study.simulation import claim_simulation_folder, run_simulation
from bench.dynamics.study.structures import InitialStructure, SimulationInputs
from bench.exceptions import BenchError, one_line
from bench.execution.announcements import announce
from bench.execution.callback import Callback
from bench.execution.workers import block_interrupts, partition_cores, start_worker
from bench.files import remove_leftovers
from bench.settings.simulation import SimulationSettings

StudyCallback = Callback[str, str, str, float, float, float]
"""Called with a model's and a structure's name, then as `StageCallback`."""

_POLL_SECONDS = 0.2
"""Longest time between two checks of the worker processes."""


class _Task(NamedTuple):
    """One simulation, in values that can be pickled for a worker process."""

    model_path: Path
    model_name: str
    initial: InitialStructure
    settings: SimulationSettings
    out: Path
    reference: RadialDistribution | None
    double: bool

    @property
    def folder(self) -> Path:
        return self.out / self.model_name / self.initial.name

    @property
    def label(self) -> str:
        return f"{self.model_name} with {self.initial.name}"


class StudyResult(NamedTuple):
    """Results of a study."""

    results: list[dict[str, Any]]
    """As in the `result.json` of each simulation that could be run."""
    failures: dict[str, str]
    """Reasons why the other simulations could not be run, by `MODEL with STRUCTURE`."""


def run_study(
    simulations: Sequence[SimulationInputs],
    settings: SimulationSettings,
    out: Path,
    callback: StudyCallback,
    *,
    reference: Sequence[ase.Atoms] = (),
    jobs: int = 1,
) -> StudyResult:
    """Runs simulations; continues where an earlier call was stopped.

    Args:
        simulations: models and structures.
        settings: settings of the simulations.
        out: folder of the study, with a subfolder for each model.
        callback: see `StudyCallback`.
        reference: trajectory whose radial distribution is compared; may be empty.
        jobs: number of simulations at the same time, each in its own process.

    Raises:
        BenchError: the folder belongs to other settings or is used by another process.
    """
    distribution = radial_distribution(reference) if reference else None
    double = jax.dtypes.canonicalize_dtype(float) == "float64"
    tasks = [
        _Task(model.path, model.name, initial, settings, out, distribution, double)
        for model, initial in simulations
    ]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            remove_leftovers(out)
            inputs = settings.model_dump(mode="json") | {"double": double}
            description = "simulations with other settings"
            claim_folder(out, "settings.json", inputs, description)
            failures = _folder_conflicts(tasks, simulations)
            waiting = [
                task
                for task in tasks
                if not (task.folder / RESULT).exists() and task.label not in failures
            ]
            if jobs > 1:
                failures |= _run_in_processes(waiting, callback, jobs)
            else:
                failures |= _run_sequentially(waiting, callback)
    except filelock.Timeout:
        raise BenchError(
            f"{out} is used by another process: wait for it, or choose another folder "
            "with --out."
        ) from None
    results = [
        read_simulation(task.folder / RESULT, task.model_name, task.initial.name)
        for task in tasks
        if task.label not in failures and (task.folder / RESULT).exists()
    ]
    return StudyResult(results, failures)


def _folder_conflicts(
    tasks: Sequence[_Task], simulations: Sequence[SimulationInputs]
) -> dict[str, str]:
    """Returns why existing results cannot be used, by label of the simulation."""
    conflicts = {}
    for task, (model, initial) in zip(tasks, simulations, strict=True):
        try:
            if has_results(task.folder):
                claim_simulation_folder(task.folder, model, initial.structure)
            if task.reference is not None and (task.folder / RESULT).exists():
                _check_reference(task, task.reference)
        except BenchError as error:
            conflicts[task.label] = str(error)
    return conflicts


def _check_reference(task: _Task, reference: RadialDistribution) -> None:
    """Raises an error if a finished simulation was compared with another reference."""
    path = task.folder / RESULT
    result = read_simulation(path, task.model_name, task.initial.name)
    stored = result["radial_distribution"]
    if stored is not None and stored.get("reference") != reference.values.tolist():
        raise BenchError(
            f"{path} does not compare distances with this reference: delete it, and "
            "the same command compares them without simulating again."
        )


def _run_sequentially(
    tasks: Sequence[_Task], callback: StudyCallback
) -> dict[str, str]:
    """Returns why simulations could not be run, by label."""
    reasons = {task.label: _run(task, callback) for task in tasks}
    return {label: reason for label, reason in reasons.items() if reason is not None}


def _run(task: _Task, callback: StudyCallback) -> str | None:
    """Runs a simulation; returns the reason if that is impossible, else None."""
    announce(f"{task.label}: opening the model, compiling, checking it")
    name = task.initial.name
    stage_callback = lambda *progress: callback(task.model_name, name, *progress)
    try:
        model = dataclasses.replace(open_model(task.model_path), name=task.model_name)
        run_simulation(
            model,
            task.initial,
            task.settings,
            task.folder,
            stage_callback,
            task.reference,
        )
    except BenchError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"
    return None


def _run_in_processes(
    tasks: Sequence[_Task], callback: StudyCallback, jobs: int
) -> dict[str, str]:
    """As `_run_sequentially`; a process that crashes fails only its own simulation."""
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    waiting, failures = list(tasks), {}
    free_cores = partition_cores(jobs)
    running: list[tuple[_Task, BaseProcess, set[int]]] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task, cores = waiting.pop(0), free_cores.pop()
                process = context.Process(target=_work, args=(task, messages, cores))
                with block_interrupts():
                    process.start()
                running.append((task, process, cores))
            sentinels = [process.sentinel for _, process, _ in running]
            multiprocessing.connection.wait(sentinels, timeout=_POLL_SECONDS)
            _forward(messages, callback, failures)
            for entry in [entry for entry in running if not entry[1].is_alive()]:
                task, process, cores = entry
                if process.exitcode:
                    failures[task.label] = (
                        f"its process ended with status {process.exitcode} without an "
                        "error message, possibly for lack of memory: use fewer --jobs."
                    )
                free_cores.append(cores)
                running.remove(entry)
        _forward(messages, callback, failures)
    finally:
        for _, process, _ in running:
            process.terminate()
            process.join()
    return failures


def _work(task: _Task, messages: Any, cores: set[int]) -> None:
    """Main function of a worker process."""
    start_worker(cores)
    with jax.enable_x64(task.double):
        reason = _run(task, lambda *progress: messages.put(progress))
    if reason is not None:
        messages.put((task.label, reason))


def _forward(messages: Any, callback: StudyCallback, failures: dict[str, str]) -> None:
    """Handles messages of workers: (label, reason), or arguments of the callback."""
    while True:
        try:
            message = messages.get_nowait()
        except queue.Empty:
            return
        if len(message) == 2:
            failures[message[0]] = message[1]
        else:
            callback(*message)
