"""The tables of a report: errors of every run, and every model against its backbone."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.evaluation.breakdown import by_element
from bench.evaluation.intervals import Interval, difference, mean_error, totals
from bench.settings.grid import Run

UNITS = {
    "energy": "meV/atom",
    "force": "meV/Å",
    "stress": "meV/Å³",
    "charge": "me",
    "dipole": "me Å",
    "born": "me",
}
SYMBOLS = {"energy": "E", "force": "F"}

Frames = Mapping[str, Sequence[Any]]
"""Test frames by name of the run."""


class Table(NamedTuple):
    """Headings and cells, as text."""

    headings: list[str]
    rows: list[list[str]]


def error_rows(
    results: Sequence[dict[str, Any]],
    frames: Frames,
    costs: Mapping[str, Mapping[str, float | None]],
) -> list[dict]:
    """One row a run: mean absolute errors, their intervals, floors and gaps.

    Args:
        results: as in `result.json`.
        frames: of the test part.
        costs: as in `cost.json`, by name of the run.
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
        for kind in UNITS:
            for column, errors in (
                ("validation", result["errors"]["validation"]),
                ("test", result["errors"]["test"]),
                ("floor", result["floors"]["test"]),
            ):
                value = errors[f"{kind}_mae"]
                row[f"{column}_{kind}"] = np.nan if value is None else value
            for column in ("rmse", "r2"):
                value = result["errors"]["test"].get(f"{kind}_{column}")
                row[f"{column}_{kind}"] = np.nan if value is None else value
            row[f"gap_{kind}"] = row[f"test_{kind}"] / row[f"validation_{kind}"]
            found = totals(frames[run.name], kind) if kind in kinds else None
            row[f"interval_{kind}"] = None if found is None else mean_error(found)
        # The error of zero force is the mean size of a component.
        row["relative_force"] = row["test_force"] / row["floor_force"]
        told = by_element(frames[run.name], "charge") if run.has_charges else []
        row["elements_charge"] = np.mean([error for _, error in told] or [np.nan])
        rows.append(row)
    return rows


def kinds_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What the model of a run predicts and is compared in.

    Args:
        result: as in `result.json`.
    """
    return tuple(result.get("kinds", Run(**result["run"]).kinds))


def main_kind(rows: Sequence[Mapping[str, Any]]) -> str:
    """The kind of error that figures show where one must do: the first there is.

    Args:
        rows: from `error_rows`.
    """
    known = lambda kind: any(np.isfinite(row[f"test_{kind}"]) for row in rows)
    return next((kind for kind in UNITS if known(kind)), "energy")


def error_tables(rows: Sequence[dict[str, Any]]) -> dict[str, Table]:
    """One table a kind of error; kinds that nothing predicts or labels are left out."""
    tables = {}
    for kind, unit in UNITS.items():
        if not any(np.isfinite(row[f"test_{kind}"]) for row in rows):
            continue
        form = "{:.2f}" if kind == "energy" else "{:.1f}"
        columns = [
            *((key, key, "{}") for key in ("split", "model", "seed")),
            (f"validation_{kind}", f"validation ({unit})", form),
            (f"test_{kind}", f"test ({unit})", form),
            (f"interval_{kind}", "95 %", form),
            (f"gap_{kind}", "test / validation", "{:.2f}"),
            (f"floor_{kind}", f"floor ({unit})", form),
            (f"rmse_{kind}", f"test RMSE ({unit})", form),
        ]
        if kind == "force":
            columns.append(("relative_force", "test / mean force", "{:.3f}"))
        if kind == "charge":
            heading = f"mean over elements ({unit})"
            columns.append(("elements_charge", heading, form))
        if kind in ("dipole", "born"):
            columns.append((f"r2_{kind}", "test R²", "{:.3f}"))
        if not tables:
            columns.append(("parameters", "parameters", "{:,}"))
            columns.append(("cost", "cost (µs/atom)", "{:.0f}"))
            columns.append(("memory", "peak memory (MiB)", "{:.0f}"))
        told = [row for row in rows if np.isfinite(row[f"test_{kind}"])]
        cells = [[_cell(row[key], form) for key, _, form in columns] for row in told]
        tables[kind] = Table([heading for _, heading, _ in columns], cells)
    return tables


def _cell(value: Any, form: str) -> str:
    if isinstance(value, Interval):
        ends = (form.format(value.low), form.format(value.high))
        return "–" if np.isnan(value.low) else " to ".join(ends)
    missing = value is None or (isinstance(value, float) and not np.isfinite(value))
    return "–" if missing else form.format(value)


def comparison_table(runs: Sequence[Run], frames: Frames) -> Table:
    """Every model with long-range layers against the same backbone without.

    Seeds are pooled. A model is called better or worse where the 95 % interval of the
    difference of mean absolute errors, paired over materials, excludes zero.
    """
    shown = [f for run in runs for f in frames[run.name]]
    kinds = [k for k in SYMBOLS if totals(shown, k) is not None]
    rows: list[list[str]] = []
    if not kinds:
        return Table([], rows)
    for split, model in dict.fromkeys((r.split, r.model) for r in runs):
        chosen = [r for r in runs if (r.split, r.model) == (split, model)]
        plain = {
            (r.split, r.backbone, r.seed): r for r in runs if r.long_range == "none"
        }
        # More message passing is what long-range layers are compared with as well.
        other = "mace" if model == "mp4" else chosen[0].backbone
        pairs = [(r, plain.get((r.split, other, r.seed))) for r in chosen]
        if model == other or any(base is None for _, base in pairs):
            continue
        cells = [split, model, other]
        for kind in kinds:
            cells += _compared(
                [(frames[a.name], frames[b.name]) for a, b in pairs if b], kind
            )
        rows.append(cells)
    headings = ["split", "model", "against"]
    for kind in kinds:
        headings += [f"{SYMBOLS[kind]} difference ({UNITS[kind]})", "95 %", "verdict"]
    return Table(headings, rows)


def _compared(pairs, kind: str) -> list[str]:
    """Difference, interval and verdict of one kind of error."""
    model, base = (totals(_labelled(side), kind) for side in zip(*pairs, strict=True))
    if model is None or base is None:
        return ["–", "–", "–"]
    found = difference(model, base)
    verdict = {-1: "better", 0: "undecided", 1: "worse"}[found.sign]
    return [f"{found.value:+.2f}", _cell(found, "{:+.2f}"), verdict]


def _labelled(parts):
    """Frames of all seeds; groups are kept apart, for each seed is a training."""
    found = []
    for seed, frames in enumerate(parts):
        for frame in frames:
            copy = frame.copy()
            copy.calc = frame.calc
            copy.info["group"] = f"{seed} {frame.info['group']}"
            found.append(copy)
    return found
