"""Errors with intervals, and whether one model is better than another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

_RESAMPLES = 2000
_LEVEL = 0.95


class GroupedErrors(NamedTuple):
    """Absolute errors of a test part, summed by material or molecule.

    Frames of one material err alike, so materials, not frames, are the independent
    observations.
    """

    names: np.ndarray
    """Group of each entry."""
    sums: np.ndarray
    """Of absolute errors, in the units of `Errors`."""
    counts: np.ndarray
    """How many errors were summed."""

    @property
    def mean(self) -> float:
        """The mean absolute error."""
        return float(self.sums.sum() / self.counts.sum())


class Interval(NamedTuple):
    """A number with its 95 % interval; NaN bounds where there is one group alone."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """-1 or 1 if the whole interval lies on one side of zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def absolute_errors(frame: Any, kind: str) -> np.ndarray | None:
    """Absolute errors of one frame of `predictions.extxyz`; None without a label.

    Args:
        frame: as written by `write_predictions`.
        kind: one of `KINDS`.
    """
    both = prediction_and_label(frame, kind)
    return None if both is None else 1000 * np.abs(both[0] - both[1])


def prediction_and_label(frame: Any, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Predictions and labels of one frame, flat; None where one does not exist.

    Args:
        frame: as written by `write_predictions`.
        kind: one of `KINDS`; energies are an atom.
    """
    info, arrays = frame.info, frame.arrays
    told = {} if frame.calc is None else frame.calc.results
    found, label = {
        "energy": lambda: (told.get("energy"), info.get("label_energy")),
        "stress": lambda: (told.get("stress"), info.get("label_stress")),
        "force": lambda: (told.get("forces"), arrays.get("label_forces")),
        "charge": lambda: (arrays["model_charges"], arrays.get("label_charges")),
        "dipole": lambda: (info.get("model_dipole"), info.get("label_dipole")),
        "born": lambda: (arrays.get("model_born"), arrays.get("label_born")),
    }[kind]()
    if label is None or found is None:
        return None
    per = len(frame) if kind == "energy" else 1
    return np.ravel(found) / per, np.ravel(label) / per


def totals(frames: Sequence[Any], kind: str) -> GroupedErrors | None:
    """Absolute errors of all frames by group; None where nothing is labelled.

    Args:
        frames: of one test part, or of several seeds' test parts one after another.
        kind: of error, see `absolute_errors`.
    """
    found = [(str(f.info["group"]), absolute_errors(f, kind)) for f in frames]
    found = [(group, errors) for group, errors in found if errors is not None]
    if not found:
        return None
    names, place = np.unique([group for group, _ in found], return_inverse=True)
    sums = np.bincount(place, [errors.sum() for _, errors in found])
    counts = np.bincount(place, [errors.size for _, errors in found])
    return GroupedErrors(names, sums, counts)


def mean_error(errors: GroupedErrors) -> Interval:
    """The mean absolute error with its bootstrap interval over groups."""
    statistic = lambda rows: errors.sums[rows].sum(-1) / errors.counts[rows].sum(-1)
    return _bootstrapped(errors, statistic)


def difference(model: GroupedErrors, baseline: GroupedErrors) -> Interval:
    """Mean absolute error of a model minus that of another, on the same structures.

    Both are resampled together, so what makes a material hard for all models cancels.

    Raises:
        ValueError: the two were not tested on the same structures.
    """
    same = np.array_equal(model.names, baseline.names)
    if not same or not np.array_equal(model.counts, baseline.counts):
        raise ValueError("Errors of different structures cannot be compared in pairs.")
    apart = model.sums - baseline.sums
    statistic = lambda rows: apart[rows].sum(-1) / model.counts[rows].sum(-1)
    return _bootstrapped(model, statistic)


def _bootstrapped(errors: GroupedErrors, statistic) -> Interval:
    rows = np.arange(len(errors.names))
    value = float(statistic(rows))
    if len(rows) < 2:
        return Interval(value, np.nan, np.nan)
    found = bootstrap(
        (rows,),
        lambda rows, axis: statistic(rows),
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))
