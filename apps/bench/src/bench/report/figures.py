"""Figures that compare runs: learning curves, errors and cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from bench.labels import KINDS, LABELS_BY_KIND, MAIN_KINDS
from bench.report.style import COLORS, legend_below

_ERRORS = {
    kind: f"MAE of {LABELS_BY_KIND[kind].text} ({LABELS_BY_KIND[kind].error_unit})"
    for kind in dict.fromkeys((*MAIN_KINDS, *KINDS))
}
"""Axis label of the mean absolute error of each kind of label."""

_MAX_PANELS = 3
"""Number of kinds in a figure of all runs: the first ones with labels."""


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draws validation errors of every run against the epoch.

    Args:
        histories: rows of `metrics.jsonl` by name of the run.
    """
    epochs = [row for rows in histories.values() for row in rows]
    has_errors = lambda kind: any(
        row.get(f"validation_{kind}_mae") is not None for row in epochs
    )
    kinds = [kind for kind in _ERRORS if has_errors(kind)][:_MAX_PANELS]
    figure, panels = _panel_row(len(kinds))
    for axes, kind in zip(panels, kinds, strict=True):
        key = f"validation_{kind}_mae"
        for i, (name, rows) in enumerate(histories.items()):
            axes.plot(
                [row["epoch"] for row in rows],
                np.array([row.get(key) for row in rows], float),
                color=COLORS[i % len(COLORS)],
                linestyle=("-", "--", ":")[i // len(COLORS) % 3],
                label=name,
                linewidth=1.3,
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.yaxis.set_minor_formatter("{x:.3g}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch", fontsize=8)
        axes.set_ylabel(_ERRORS[kind], fontsize=8)
        axes.tick_params(labelsize=8, which="both")
    legend_below(figure, panels[0], 2)
    return figure


def error_bars(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws validation and test errors of every model by split.

    Args:
        rows: result of `error_rows`.
    """
    has_errors = lambda kind: any(np.isfinite(row[f"test_{kind}"]) for row in rows)
    kinds = [kind for kind in _ERRORS if has_errors(kind)][:_MAX_PANELS]
    figure, panels = _panel_row(len(kinds))
    models = list(dict.fromkeys(row["model"] for row in rows))
    splits = list(dict.fromkeys(row["split"] for row in rows))
    width = 0.8 / len(models)
    for axes, kind in zip(panels, kinds, strict=True):
        for m, model in enumerate(models):
            x = np.arange(len(splits)) + (m - (len(models) - 1) / 2) * width
            for subset, alpha, shift in (
                ("validation", 0.45, -width / 4),
                ("test", 1.0, width / 4),
            ):
                column = f"{subset}_{kind}"
                axes.bar(
                    x + shift,
                    [_seed_mean(rows, split, model, column) for split in splits],
                    width / 2.2,
                    color=COLORS[m % len(COLORS)],
                    alpha=alpha,
                    label=f"{model}, {subset}",
                )
        axes.set_xticks(range(len(splits)), splits, fontsize=9)
        axes.set_ylabel(_ERRORS[kind], fontsize=8)
        axes.tick_params(labelsize=8)
    legend_below(figure, panels[0], len(models))
    return figure


def _panel_row(count: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(3.3 * count, 3.0), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False).ravel()


def _seed_mean(rows, split: str, model: str, column: str) -> float:
    """Mean over seeds; NaN without a finished run."""
    values = [r[column] for r in rows if (r["split"], r["model"]) == (split, model)]
    return float(np.mean(values)) if values else np.nan


def cost_accuracy(rows: Sequence[Mapping[str, Any]], kind: str = "energy") -> Figure:
    """Draws test errors against the cost of a prediction, one panel per split.

    Args:
        rows: result of `error_rows`.
        kind: kind of label.
    """
    splits = list(dict.fromkeys(row["split"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    columns = min(len(splits), 2)
    height = -(-len(splits) // columns)
    figure = Figure(figsize=(6.6, 2.7 * height), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False).ravel()
    for axes, split in zip(panels, splits, strict=False):
        for m, model in enumerate(models):
            seeds = [r for r in rows if (r["split"], r["model"]) == (split, model)]
            costs, errors = ([r[k] for r in seeds] for k in ("cost", f"test_{kind}"))
            axes.scatter(
                costs, errors, color=COLORS[m % len(COLORS)], label=model, s=28
            )
        costs = [row["cost"] for row in rows if row["split"] == split]
        axes.set(xscale="log", xlim=(min(costs) / 2, 2 * max(costs)))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{split} split", fontsize=9)
        axes.set_xlabel("prediction (µs/atom)", fontsize=8)
        axes.set_ylabel(_ERRORS[kind], fontsize=8)
        axes.tick_params(labelsize=8)
    for axes in panels[len(splits) :]:
        axes.set_axis_off()
    legend_below(figure, panels[0], 4)
    return figure


ELEMENT_PANELS = {
    f"element ({LABELS_BY_KIND[kind].text})": kind
    for kind in MAIN_KINDS
    if LABELS_BY_KIND[kind].per_atom
}
"""Kind of label of the panels of `breakdown` that do not show the main kind."""


def breakdown(
    panels: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    title: str,
    kind: str = "energy",
) -> Figure:
    """Draws errors of every model by class of structures, one panel per criterion.

    Args:
        panels: pairs of class and error, by model, by criterion. Criteria with fewer
            than two classes are left out.
        title: title of the figure.
        kind: kind of label, for panels that `ELEMENT_PANELS` does not list.
    """
    shown = {
        criterion: series
        for criterion, series in panels.items()
        if any(len(points) > 1 for points in series.values())
    }
    rows = -(-len(shown) // 2) or 1
    # Colors are the same in all panels, also in those without some of the models.
    models = list(dict.fromkeys(m for series in shown.values() for m in series))
    figure = Figure(figsize=(6.6, 2.6 * rows), layout="constrained")
    all_axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, (criterion, series) in zip(all_axes, shown.items(), strict=False):
        width = 0.8 / len(series)
        for m, (model, points) in enumerate(series.items()):
            x = np.arange(len(points)) + (m - (len(series) - 1) / 2) * width
            errors = [error for _, error in points]
            color = COLORS[models.index(model) % len(COLORS)]
            axes.bar(x, errors, width, color=color, label=model)
        classes = [name for name, _ in next(iter(series.values()))]
        many = len(classes) > 12
        axes.set_xticks(
            range(len(classes)),
            classes,
            fontsize=5 if many else 7,
            rotation=90 if many else 0,
        )
        axes.set_xlabel(criterion, fontsize=8)
        axes.set_ylabel(_ERRORS[ELEMENT_PANELS.get(criterion, kind)], fontsize=8)
        axes.tick_params(axis="y", labelsize=7)
    for axes in all_axes[len(shown) :]:
        axes.set_axis_off()
    legend_below(figure, all_axes[0], 4)
    figure.suptitle(title, fontsize=10)
    return figure
