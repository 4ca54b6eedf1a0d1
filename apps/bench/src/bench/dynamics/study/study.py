"""All pairs of model and structure: one after the other, or side by side."""

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import queue
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import ase
import filelock
import jax

from bench.dynamics.study.cases import Case, Pair
from bench.dynamics.study.models import open_model
from bench.dynamics.study.observables import Radial, radial_distribution
from bench.dynamics.study.protocol import Settings
from bench.dynamics.study.recording import RESULT, check_claim, is_begun, write_json
from bench.dynamics.study.result_files import read_pair
from bench.dynamics.study.structure import claim, simulated
from bench.exceptions import BenchError, one_line
from bench.execution.announcements import announce
from bench.execution.callback import Callback
from bench.execution.workers import block_interrupts, exit_with_parent
from bench.files import remove_leftovers

StudyCallback = Callback[str, str, str, float, float, float]
"""Called with a model's and a structure's name, then as `PhaseCallback`."""

_LOOK_AROUND = 0.2
"""Seconds between two looks at the processes."""


class _Task(NamedTuple):
    """One pair, in values that can be sent to another process."""

    path: Path
    name: str
    case: Case
    settings: Settings
    out: Path
    target: Radial | None
    double: bool

    @property
    def place(self) -> Path:
        return self.out / self.name / self.case.name


class Outcome(NamedTuple):
    """What came of a study."""

    results: list[dict[str, Any]]
    """As in the `result.json` of each pair that could be simulated."""
    failures: dict[str, str]
    """Why the others could not, by name."""


def study(
    pairs: Sequence[Pair],
    settings: Settings,
    out: Path,
    callback: StudyCallback,
    *,
    reference: Sequence[ase.Atoms] = (),
    jobs: int = 1,
) -> Outcome:
    """Simulates each pair; goes on where an earlier call stopped.

    Args:
        pairs: models with structures.
        settings: chosen.
        out: folder, with one a model in it.
        callback: see `StudyCallback`.
        reference: a trajectory to compare distances with.
        jobs: pairs at the same time, each in a process of its own.

    Raises:
        BenchError: the folder belongs to other settings or to another process.
    """
    target = radial_distribution(reference) if reference else None
    double = jax.dtypes.canonicalize_dtype(float) == "float64"
    tasks = [
        _Task(model.path, model.name, case, settings, out, target, double)
        for model, case in pairs
    ]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            remove_leftovers(out)
            _claim(out, dataclasses.asdict(settings) | {"double": double})
            failures = _of_others(tasks, pairs)
            waiting = [
                task
                for task in tasks
                if not (task.place / RESULT).exists() and _label(task) not in failures
            ]
            run = _side_by_side if jobs > 1 else _in_turn
            failures |= run(waiting, callback, jobs)
    except filelock.Timeout:
        raise BenchError(
            f"Another process is working in {out}: wait for it, or choose another "
            "folder with --out."
        ) from None
    done = [
        read_pair(task.place / RESULT, task.name, task.case.name)
        for task in tasks
        if _label(task) not in failures and (task.place / RESULT).exists()
    ]
    return Outcome(done, failures)


def _claim(out: Path, values: dict[str, Any]) -> None:
    """Makes a folder that of some settings, unless it holds work of others."""
    check_claim(out, "settings.json", values, "simulations with other settings")
    write_json(out / "settings.json", values)


def _check_reference(task: _Task, target: Radial) -> None:
    """Refuses a finished pair whose distances were compared with something else."""
    path = task.place / RESULT
    radial = read_pair(path, task.name, task.case.name)["radial"]
    if radial is not None and radial.get("reference") != target.values.tolist():
        raise BenchError(
            f"{path} does not compare distances with this --reference: delete it, and "
            "the same command compares anew without simulating again."
        )


def _of_others(tasks: Sequence[_Task], pairs: Sequence[Pair]) -> dict[str, str]:
    """Why folders with work in them cannot be used, by name of the pair."""
    found = {}
    for task, (model, case) in zip(tasks, pairs, strict=True):
        try:
            if is_begun(task.place):
                claim(task.place, model, case.structure)
            if task.target is not None and (task.place / RESULT).exists():
                _check_reference(task, task.target)
        except BenchError as error:
            found[_label(task)] = str(error)
    return found


def _in_turn(
    tasks: Sequence[_Task], callback: StudyCallback, jobs: int
) -> dict[str, str]:
    """Why pairs could not be simulated, by name."""
    del jobs
    failures = {}
    for task in tasks:
        reason = _attempt(task, callback)
        if reason is not None:
            failures[_label(task)] = reason
    return failures


def _attempt(task: _Task, callback: StudyCallback) -> str | None:
    """Simulates a pair; the reason if that cannot be done."""
    announce(f"{_label(task)}: opening the model, compiling, checking it")
    try:
        model = dataclasses.replace(open_model(task.path), name=task.name)
        news = lambda *facts: callback(task.name, task.case.name, *facts)
        simulated(model, task.case, task.settings, task.place, news, task.target)
    except BenchError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {one_line(error)}"
    return None


def _label(task: _Task) -> str:
    return f"{task.name} with {task.case.name}"


def _side_by_side(
    tasks: Sequence[_Task], callback: StudyCallback, jobs: int
) -> dict[str, str]:
    """The same with several processes; one that dies takes one pair with it."""
    context = multiprocessing.get_context("spawn")
    rows = context.Queue()
    waiting, failures = list(tasks), {}
    shares = _shares(jobs)
    working: list[tuple[_Task, BaseProcess, set[int]]] = []
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                task, cores = waiting.pop(0), shares.pop()
                process = context.Process(target=_alone, args=(task, rows, cores))
                with block_interrupts():
                    process.start()
                working.append((task, process, cores))
            sentinels = [process.sentinel for _, process, _ in working]
            multiprocessing.connection.wait(sentinels, timeout=_LOOK_AROUND)
            _pass_on(rows, callback, failures)
            for one in [one for one in working if not one[1].is_alive()]:
                task, process, cores = one
                if process.exitcode:
                    failures[_label(task)] = (
                        f"its process ended with status {process.exitcode} and no "
                        "word, as too little memory makes it: run fewer --jobs."
                    )
                shares.append(cores)
                working.remove(one)
        _pass_on(rows, callback, failures)
    finally:
        for _, process, _ in working:
            process.terminate()
            process.join()
    return failures


def _shares(jobs: int) -> list[set[int]]:
    """Cores for each process, so that no threads of two want the same one."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[i::jobs]) for i in range(jobs)]


def _alone(task: _Task, rows: Any, cores: set[int]) -> None:
    """The work of one process."""
    if cores:
        # Before the first computation, which starts a thread a core.
        os.sched_setaffinity(0, cores)
    exit_with_parent()
    with jax.enable_x64(task.double):
        reason = _attempt(task, lambda *news: rows.put(news))
    if reason is not None:
        rows.put((_label(task), reason))


def _pass_on(rows: Any, callback: StudyCallback, failures: dict[str, str]) -> None:
    """News of the processes: two words of a failure, six of progress."""
    while True:
        try:
            news = rows.get_nowait()
        except queue.Empty:
            return
        if len(news) == 2:
            failures[news[0]] = news[1]
        else:
            callback(*news)
