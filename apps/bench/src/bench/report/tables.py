"""Tables of a report: errors of every run, and comparisons with the backbone alone."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.evaluation.breakdown import by_element
from bench.evaluation.intervals import Interval, difference, group_errors, mean_error
from bench.labels import KINDS, LABELS_BY_KIND, MAIN_KINDS
from bench.settings.grid import Run

_COMPARED = tuple(k for k in MAIN_KINDS if LABELS_BY_KIND[k].predicted_by == "all")
"""Kinds of labels that are compared with the backbone alone."""

FramesByRun = Mapping[str, Sequence[Any]]
"""Frames of the test set by name of the run."""


class Table(NamedTuple):
    """Headings and cells as text."""

    headings: list[str]
    rows: list[list[str]]


def error_rows(
    results: Sequence[dict[str, Any]],
    frames: FramesByRun,
    costs: Mapping[str, Mapping[str, float | None]],
) -> list[dict]:
    """Returns one row per run: mean absolute errors, intervals, floors and gaps.

    Args:
        results: contents of the `result.json` of each run.
        frames: frames of the test sets, by name of the run.
        costs: contents of `cost.json`, by name of the run.
    """
    rows = []
    for result in results:
        run, kinds = Run(**result["run"]), kinds_of(result)
        row = {
            "split": run.split,
            "model": run.model,
            "seed": run.seed,
            "parameters": result["parameters"],
            "cost": costs[run.name]["microseconds_per_atom"],
            "memory": costs[run.name].get("mebibytes"),
        }
        for kind in KINDS:
            for column, errors in (
                ("validation", result["errors"]["validation"]),
                ("test", result["errors"]["test"]),
                ("floor", result["floors"]["test"]),
            ):
                value = errors.get(f"{kind}_mae")
                row[f"{column}_{kind}"] = np.nan if value is None else value
            for column in ("rmse", "r2"):
                value = result["errors"]["test"].get(f"{kind}_{column}")
                row[f"{column}_{kind}"] = np.nan if value is None else value
            row[f"gap_{kind}"] = row[f"test_{kind}"] / row[f"validation_{kind}"]
            errors = group_errors(frames[run.name], kind) if kind in kinds else None
            row[f"interval_{kind}"] = None if errors is None else mean_error(errors)
        # The floor of forces is the mean absolute component.
        row["relative_force"] = row["test_force"] / row["floor_force"]
        elements = by_element(frames[run.name], "charge") if run.has_charges else []
        row["elements_charge"] = np.mean([error for _, error in elements] or [np.nan])
        rows.append(row)
    return rows


def kinds_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the kinds of labels that the model of a run predicts.

    Args:
        result: contents of `result.json`.
    """
    return tuple(result.get("kinds", Run(**result["run"]).kinds))


def main_kind(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the first kind with errors, for figures that show a single kind.

    Args:
        rows: result of `error_rows`.
    """
    has_errors = lambda kind: any(np.isfinite(row[f"test_{kind}"]) for row in rows)
    return next((kind for kind in KINDS if has_errors(kind)), "energy")


def error_tables(rows: Sequence[dict[str, Any]]) -> dict[str, Table]:
    """Returns one table per kind of label, without kinds that have no errors.

    Args:
        rows: result of `error_rows`.
    """
    tables = {}
    for kind, label in LABELS_BY_KIND.items():
        unit = label.error_unit
        if not any(np.isfinite(row[f"test_{kind}"]) for row in rows):
            continue
        fmt = "{:.2f}" if label.is_extensive else "{:.1f}"
        columns = [
            *((key, key, "{}") for key in ("split", "model", "seed")),
            (f"validation_{kind}", f"validation ({unit})", fmt),
            (f"test_{kind}", f"test ({unit})", fmt),
            (f"interval_{kind}", "95 %", fmt),
            (f"gap_{kind}", "test / validation", "{:.2f}"),
            (f"floor_{kind}", f"floor ({unit})", fmt),
            (f"rmse_{kind}", f"test RMSE ({unit})", fmt),
        ]
        if kind == "force":
            columns.append(("relative_force", "test / mean force", "{:.3f}"))
        if kind == "charge":
            heading = f"mean over elements ({unit})"
            columns.append(("elements_charge", heading, fmt))
        if label.has_r2:
            columns.append((f"r2_{kind}", "test R²", "{:.3f}"))
        if not tables:
            columns.append(("parameters", "parameters", "{:,}"))
            columns.append(("cost", "cost (µs/atom)", "{:.0f}"))
            columns.append(("memory", "peak memory (MiB)", "{:.0f}"))
        finite = [row for row in rows if np.isfinite(row[f"test_{kind}"])]
        cells = [[_cell(row[key], fmt) for key, _, fmt in columns] for row in finite]
        tables[kind] = Table([heading for _, heading, _ in columns], cells)
    return tables


def _cell(value: Any, fmt: str) -> str:
    if isinstance(value, Interval):
        ends = (fmt.format(value.low), fmt.format(value.high))
        return "–" if np.isnan(value.low) else " to ".join(ends)
    missing = value is None or (isinstance(value, float) and not np.isfinite(value))
    return "–" if missing else fmt.format(value)


def comparison_table(runs: Sequence[Run], frames: FramesByRun) -> Table:
    """Compares every model with long-range layers with its backbone alone.

    Seeds are pooled. A model is better or worse if the 95 % interval of the difference
    of mean absolute errors, paired over materials, excludes zero.

    Args:
        runs: finished runs of a grid.
        frames: frames of the test sets, by name of the run.
    """
    all_frames = [f for run in runs for f in frames[run.name]]
    kinds = [k for k in _COMPARED if group_errors(all_frames, k) is not None]
    rows: list[list[str]] = []
    if not kinds:
        return Table([], rows)
    for split, model in dict.fromkeys((r.split, r.model) for r in runs):
        seeds = [r for r in runs if (r.split, r.model) == (split, model)]
        baselines = {
            (r.split, r.backbone, r.seed): r for r in runs if r.long_range == "none"
        }
        # More message passing (mp4) is an alternative to long-range layers.
        baseline = "mace" if model == "mp4" else seeds[0].backbone
        pairs = [(r, baselines.get((r.split, baseline, r.seed))) for r in seeds]
        if model == baseline or any(other is None for _, other in pairs):
            continue
        cells = [split, model, baseline]
        for kind in kinds:
            cells += _comparison_cells(
                [(frames[a.name], frames[b.name]) for a, b in pairs if b], kind
            )
        rows.append(cells)
    headings = ["split", "model", "compared with"]
    for kind in kinds:
        label = LABELS_BY_KIND[kind]
        headings.append(f"{label.symbol} difference ({label.error_unit})")
        headings += ["95 %", "verdict"]
    return Table(headings, rows)


def _comparison_cells(pairs, kind: str) -> list[str]:
    """Returns difference, interval and verdict of one kind of label."""
    model, baseline = (
        group_errors(_pooled_frames(side), kind) for side in zip(*pairs, strict=True)
    )
    if model is None or baseline is None:
        return ["–", "–", "–"]
    interval = difference(model, baseline)
    verdict = {-1: "better", 0: "undecided", 1: "worse"}[interval.sign]
    return [f"{interval.value:+.2f}", _cell(interval, "{:+.2f}"), verdict]


def _pooled_frames(frames_by_seed):
    """Returns frames of all seeds; groups stay separate, since trainings differ."""
    pooled = []
    for seed, frames in enumerate(frames_by_seed):
        for frame in frames:
            copy = frame.copy()
            copy.calc = frame.calc
            copy.info["group"] = f"{seed} {frame.info['group']}"
            pooled.append(copy)
    return pooled
