"""Test errors with confidence intervals, and paired comparison of models."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

from bench.labels import ERROR_SCALE, LABELS_BY_KIND

_RESAMPLES = 2000
_LEVEL = 0.95


class GroupedErrors(NamedTuple):
    """Absolute errors of a test set, summed by group (material or molecule).

    Errors within a group are correlated, so groups, not frames, are resampled.
    """

    names: np.ndarray
    """Names of the groups."""
    sums: np.ndarray
    """Sum of absolute errors of each group, in the units of `Errors`."""
    counts: np.ndarray
    """Number of errors in each group."""

    @property
    def mean(self) -> float:
        """The mean absolute error."""
        return float(self.sums.sum() / self.counts.sum())


class Interval(NamedTuple):
    """A value with its 95 % confidence interval; NaN bounds for a single group."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 if the interval is above zero, -1 if it is below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def absolute_errors(frame: Any, kind: str) -> np.ndarray | None:
    """Returns the absolute errors of a frame of `predictions.extxyz`, or None.

    None if the frame has no label or no prediction of this kind. In the units of
    `Errors`.

    Args:
        frame: as written by `write_predictions`.
        kind: one of `KINDS`.
    """
    pair = prediction_and_label(frame, kind)
    if pair is None:
        return None
    residual = LABELS_BY_KIND[kind].residual(*pair, len(frame))
    return ERROR_SCALE * np.abs(residual)


def prediction_and_label(frame: Any, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns predictions and labels of a frame, flattened; None if one is missing.

    Args:
        frame: as written by `write_predictions`.
        kind: one of `KINDS`.
    """
    label = LABELS_BY_KIND[kind]
    values = frame.arrays if label.per_atom else frame.info
    results = {} if frame.calc is None else frame.calc.results
    key = label.prediction_key
    prediction = results.get(key) if label.is_energy else values.get(f"model_{key}")
    reference = values.get(f"label_{key}")
    if reference is None or prediction is None:
        return None
    return np.ravel(prediction), np.ravel(reference)


def group_errors(frames: Sequence[Any], kind: str) -> GroupedErrors | None:
    """Returns the absolute errors of all frames by group; None without any label.

    Args:
        frames: of one test set, or of those of several seeds, concatenated.
        kind: of error, see `absolute_errors`.
    """
    candidates = [(str(f.info["group"]), absolute_errors(f, kind)) for f in frames]
    labeled = [(group, errors) for group, errors in candidates if errors is not None]
    if not labeled:
        return None
    names, inverse = np.unique([group for group, _ in labeled], return_inverse=True)
    sums = np.bincount(inverse, [errors.sum() for _, errors in labeled])
    counts = np.bincount(inverse, [errors.size for _, errors in labeled])
    return GroupedErrors(names, sums, counts)


def mean_error(errors: GroupedErrors) -> Interval:
    """Returns the mean absolute error with its bootstrap interval over groups."""
    statistic = lambda rows: errors.sums[rows].sum(-1) / errors.counts[rows].sum(-1)
    return _bootstrap(errors, statistic)


def difference(model: GroupedErrors, baseline: GroupedErrors) -> Interval:
    """Returns the mean absolute error of a model minus that of another one.

    A paired bootstrap: both are resampled together, so that differences in difficulty
    between groups cancel.

    Args:
        model: errors on some structures.
        baseline: errors of the other model on the same structures.

    Raises:
        ValueError: the two were not tested on the same structures.
    """
    same_groups = np.array_equal(model.names, baseline.names)
    if not same_groups or not np.array_equal(model.counts, baseline.counts):
        raise ValueError("Errors of different structures cannot be compared in pairs.")
    excess = model.sums - baseline.sums
    statistic = lambda rows: excess[rows].sum(-1) / model.counts[rows].sum(-1)
    return _bootstrap(model, statistic)


def _bootstrap(errors: GroupedErrors, statistic) -> Interval:
    rows = np.arange(len(errors.names))
    value = float(statistic(rows))
    if len(rows) < 2:
        return Interval(value, np.nan, np.nan)
    interval = bootstrap(
        (rows,),
        lambda rows, axis: statistic(rows),
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(interval.low), float(interval.high))
