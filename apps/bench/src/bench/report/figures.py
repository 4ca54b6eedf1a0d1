"""Figures that compare runs: how they learned, how they err, what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from bench.report.style import COLORS, legend_below

_ERRORS = {
    "energy": "energy MAE (meV/atom)",
    "force": "force MAE (meV/Å)",
    "charge": "charge MAE (me)",
    "stress": "stress MAE (meV/Å³)",
    "dipole": "dipole MAE (me Å)",
    "born": "Born charge MAE (me)",
}
"""Axes of the figures of errors."""

_PANELS = 3
"""Kinds that a figure of all runs shows: the first ones of which there are labels."""


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Validation errors of every run over its epochs.

    Args:
        histories: rows of `metrics.jsonl` by run.
    """
    every = [row for rows in histories.values() for row in rows]
    known = lambda kind: any(
        row.get(f"validation_{kind}_mae") is not None for row in every
    )
    shown = [kind for kind in _ERRORS if known(kind)][:_PANELS]
    figure = Figure(figsize=(3.3 * len(shown), 3.0), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False).ravel()
    for axes, kind in zip(panels, shown, strict=True):
        key, label = f"validation_{kind}_mae", _ERRORS[kind]
        for i, (name, rows) in enumerate(histories.items()):
            epochs = [r["epoch"] for r in rows]
            axes.plot(
                epochs,
                np.array([r.get(key) for r in rows], float),
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
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=8, which="both")
    legend_below(figure, panels[0], 2)
    return figure


def error_bars(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Test errors of every model on every split, beside the floor.

    Args:
        rows: of the report's table.
    """
    known = lambda kind: any(np.isfinite(row[f"test_{kind}"]) for row in rows)
    shown = [kind for kind in _ERRORS if known(kind)][:_PANELS]
    figure = Figure(figsize=(3.3 * len(shown), 3.0), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False).ravel()
    models = list(dict.fromkeys(r["model"] for r in rows))
    splits = list(dict.fromkeys(r["split"] for r in rows))
    width = 0.8 / len(models)
    for axes, key in zip(panels, shown, strict=True):
        label = _ERRORS[key]
        for m, model in enumerate(models):
            for place, fade in (("validation", 0.45), ("test", 1.0)):
                values = [_mean_of(rows, s, model, f"{place}_{key}") for s in splits]
                at = np.arange(len(splits)) + (m - (len(models) - 1) / 2) * width
                shift = -width / 4 if place == "validation" else width / 4
                axes.bar(
                    at + shift,
                    values,
                    width / 2.2,
                    color=COLORS[m % len(COLORS)],
                    alpha=fade,
                    label=f"{model}, {place}",
                )
        axes.set_xticks(range(len(splits)), splits, fontsize=9)
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=8)
    legend_below(figure, panels[0], len(models))
    return figure


def _mean_of(rows, split: str, model: str, column: str) -> float:
    """Mean over seeds; NaN where no such run is finished."""
    found = [r[column] for r in rows if (r["split"], r["model"]) == (split, model)]
    return float(np.mean(found)) if found else np.nan


def cost_accuracy(rows: Sequence[Mapping[str, Any]], kind: str = "energy") -> Figure:
    """Test errors against what a prediction costs, one panel a split.

    Args:
        rows: of the report's table.
        kind: of error.
    """
    splits = list(dict.fromkeys(r["split"] for r in rows))
    models = list(dict.fromkeys(r["model"] for r in rows))
    columns = min(len(splits), 2)
    height = -(-len(splits) // columns)
    figure = Figure(figsize=(6.6, 2.7 * height), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False).ravel()
    for axes, split in zip(panels, splits, strict=False):
        for m, model in enumerate(models):
            own = [r for r in rows if (r["split"], r["model"]) == (split, model)]
            cost, error = ([r[k] for r in own] for k in ("cost", f"test_{kind}"))
            axes.scatter(cost, error, color=COLORS[m % len(COLORS)], label=model, s=28)
        here = [r["cost"] for r in rows if r["split"] == split]
        axes.set(xscale="log", xlim=(min(here) / 2, 2 * max(here)))
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


_PANEL_KINDS = {"element": "force", "element of a charge": "charge"}
"""Kinds of error of the panels of `breakdown` that have their own."""


def breakdown(
    panels: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    title: str,
    kind: str = "energy",
) -> Figure:
    """Errors of every model by kind of structure; one panel a way to tell kinds apart.

    Args:
        panels: series of (kind, error) by model, by what the kinds are. Panels of a
            single kind, or of none, say nothing and are left out.
        title: of the figure.
        kind: of error, where a panel has none of its own.
    """
    shown = {
        name: series
        for name, series in panels.items()
        if any(len(points) > 1 for points in series.values())
    }
    rows = -(-len(shown) // 2) or 1
    # A model has the same colour in panels that not all models are in.
    models = list(dict.fromkeys(m for series in shown.values() for m in series))
    figure = Figure(figsize=(6.6, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, (name, series) in zip(axes, shown.items(), strict=False):
        width = 0.8 / len(series)
        for m, (model, points) in enumerate(series.items()):
            at = np.arange(len(points)) + (m - (len(series) - 1) / 2) * width
            values = [value for _, value in points]
            colour = COLORS[models.index(model) % len(COLORS)]
            ax.bar(at, values, width, color=colour, label=model)
        labels = [label for label, _ in next(iter(series.values()))]
        many = len(labels) > 12
        ax.set_xticks(
            range(len(labels)),
            labels,
            fontsize=5 if many else 7,
            rotation=90 if many else 0,
        )
        ax.set_xlabel(name, fontsize=8)
        ax.set_ylabel(_ERRORS[_PANEL_KINDS.get(name, kind)], fontsize=8)
        ax.tick_params(axis="y", labelsize=7)
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    legend_below(figure, axes[0], 4)
    figure.suptitle(title, fontsize=10)
    return figure
