"""Processor time, validation errors and result file of one training.

Used by the process of each side of `time_to_accuracy.py`, in environments that share no
package but NumPy.
"""

import contextlib
import json
import os
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
from serving import PREFIX

UNLIMITED = 1000
"""Number of epochs of a training that ends when its time per step is measured."""

STEPS_BEFORE = 3
"""Steps before the measurement: they include compilation and first allocations."""

MEASURED_SECONDS = 20.0
"""Processor seconds of the steps that are measured."""


def load(given, part):
    """Returns the arrays of the training, validation or test set."""
    with np.load(Path(given["folder"]) / f"{part}.npz") as file:
        return dict(file)


def errors(energies, forces, data):
    """Returns the errors of predictions: meV/atom, and meV/Å by component.

    Args:
        energies: relative to the atomic energies, eV, one per structure.
        forces: eV/Å, of all atoms.
        data: from `load`, with the labels.
    """
    sizes = np.asarray(data["sizes"])
    differences = {
        "energy": (np.asarray(energies, float) - data["energies"]) / sizes,
        "force": np.asarray(forces, float) - data["forces"],
    }
    return {
        name: float(1000 * value)
        for kind, x in differences.items()
        for name, value in (
            (f"{kind}_mae", np.abs(x).mean()),
            (f"{kind}_rmse", (x**2).mean() ** 0.5),
        )
    }


class MeasurementDone(BaseException):
    """Ends a training whose steps have been timed; no handler of a side catches it."""


class Recorder:
    """Times the steps of a training and evaluates it at intervals of processor time.

    The clock starts with the first step. It includes compilation of the step, building
    of batches and whatever the training loop does between steps; evaluations and other
    calls of `untimed` functions are excluded.

    Args:
        given: settings of the side; without `epochs` the training is ended when the
            time per step is measured.
    """

    def __init__(self, given):
        self.given = given
        self.points, self.steps, self.excluded = [], 0, 0.0
        self.start = self.last = self.measured = self.steps_per_epoch = None
        self.next = 60 * given["interval"]
        self.properties = {}

    @property
    def seconds(self):
        """Processor seconds of all threads of this process since the first step."""
        return time.process_time() - self.start - self.excluded

    @contextlib.contextmanager
    def pause(self):
        """Excludes what is done in the context from the clock."""
        start = time.process_time()
        yield
        self.excluded += time.process_time() - start

    def untimed(self, function):
        """Returns a function whose calls are excluded from the clock."""

        def call(*args, **kwargs):
            with self.pause():
                return function(*args, **kwargs)

        return call

    def step(self, take, predict):
        """Takes a step and records a point if an interval has passed.

        Args:
            take: function that returns the result of the step when it is complete.
            predict: function of this result that returns energies and forces of the
                validation set by the averaged weights.
        """
        if self.start is None:
            self.start = time.process_time()
        result = take()
        self.steps += 1
        self.last = self.seconds
        if self.given["epochs"] is None:
            self._measure()
        elif self.last >= self.next:
            self._add_point(lambda: predict(result))
            self.next += 60 * self.given["interval"]
        return result

    def _measure(self):
        if self.steps == STEPS_BEFORE:
            self.measured = self.last
        elif self.steps > STEPS_BEFORE + 1:
            seconds = self.last - self.measured
            if seconds > MEASURED_SECONDS:
                raise MeasurementDone

    def _add_point(self, predict):
        with self.pause():
            energies, forces = predict()
            values = errors(energies, forces, load(self.given, "validation"))
        memory = getrusage(RUSAGE_SELF).ru_maxrss / 1024
        point = {"minutes": self.last / 60, "steps": self.steps, "peak_mib": memory}
        self.points.append(point | values)
        self._write({})

    def _write(self, results):
        """Replaces the file of the side, so that a stopped training has a curve."""
        path = Path(self.given["file"])
        content = {"side": self.given["side"], "settings": self.given["settings"]}
        content |= {"fit": self.given["fit"], "epochs": self.given["epochs"]}
        content |= self.properties | {"points": self.points} | results
        temporary = path.with_suffix(".partial")
        temporary.write_text(json.dumps(content, indent=1))
        os.replace(temporary, path)

    def run(self, train):
        """Runs the training and reports its time per step or its results.

        Args:
            train: function of the number of epochs; returns functions that predict
                energies and forces, of the validation set by the final averaged
                weights and of the test set by the model that the training returns.
        """
        if self.given["epochs"] is None:
            with contextlib.suppress(MeasurementDone):
                train(UNLIMITED)
            step = (self.last - self.measured) / (self.steps - STEPS_BEFORE)
            result = {
                "first_s": self.measured - STEPS_BEFORE * step,
                "step_s": step,
                "steps_per_epoch": self.steps_per_epoch,
            }
        else:
            predict, predict_test = train(self.given["epochs"])
            if self.points and self.points[-1]["steps"] == self.steps:
                self.points.pop()
            self._add_point(predict)
            test = errors(*predict_test(), load(self.given, "test"))
            result = {"test": test, "evaluation_minutes": self.excluded / 60}
            self._write(result)
        print(PREFIX + json.dumps(result), flush=True)
