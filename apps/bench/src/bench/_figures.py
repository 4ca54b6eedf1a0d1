"""Figures of the report: what a run predicts, how it learned, where its data lie."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from scipy.stats import gaussian_kde

from ._statistics import compared

# Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


PANELS = {
    "force": ("force components", "eV/Å"),
    "charge": ("charges", "e"),
    "dipole": ("dipole components", "e Å"),
    "born": ("Born charges, all components", "e"),
}
"""Title and unit of each kind in a parity plot."""


def parity(frames: Sequence[Any], title: str, kinds: Sequence[str]) -> Figure:
    """Predicted against labelled values of the test part.

    Args:
        frames: of the test part, from `predictions.extxyz`.
        title: of the figure.
        kinds: what may be compared; panels without labels are left out.
    """
    pairs = {k: _all_compared(frames, k) for k in PANELS if k in kinds}
    shown = {k: pair for k, pair in pairs.items() if pair is not None}
    labels = np.array([f.info["label_energy"] / len(f) for f in frames])
    errors = np.array([f.get_potential_energy() / len(f) for f in frames]) - labels
    columns = min(1 + len(shown), 3)
    rows = -(-(1 + len(shown)) // columns)
    figure = Figure(figsize=(3.3 * columns, 3.0 * rows), layout="constrained")
    left, *rest = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in rest[len(shown) :]:
        axes.set_axis_off()
    above = labels - np.array([f.info["floor_energy"] / len(f) for f in frames])
    _scatter(left, 1000 * above, 1000 * (above + errors))
    left.set_xlabel("label (meV/atom)")
    left.set_ylabel("prediction (meV/atom)")
    left.set_title("energy above the composition fit", fontsize=9)
    for axes, (kind, (guess, truth)) in zip(rest, shown.items(), strict=False):
        what, unit = PANELS[kind]
        _scatter(axes, truth, guess)
        axes.set_xlabel(f"label ({unit})")
        axes.set_ylabel(f"prediction ({unit})")
        axes.set_title(what, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def _all_compared(frames: Sequence[Any], kind: str):
    """Predictions and labels of all frames; None without any."""
    found = [pair for f in frames if (pair := compared(f, kind)) is not None]
    return tuple(map(np.concatenate, zip(*found, strict=True))) if found else None


def _scatter(axes, x, y) -> None:
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, zorder=0)
    size = 6 if len(x) < 2000 else 1.5
    axes.scatter(
        x, y, s=size, alpha=0.4, color=COLOURS[0], linewidths=0, rasterized=True
    )
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)


_ERRORS = {
    "energy": "energy MAE (meV/atom)",
    "force": "force MAE (meV/Å)",
    "charge": "charge MAE (me)",
}
"""Panels of the figures of all runs, where anything is labelled."""


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Validation errors of every run over its epochs.

    Args:
        histories: rows of `metrics.jsonl` by run.
    """
    every = [row for rows in histories.values() for row in rows]
    known = lambda kind: any(row.get(f"validation_{kind}_mae") for row in every)
    shown = [kind for kind in _ERRORS if known(kind)]
    figure = Figure(figsize=(3.3 * len(shown), 3.0), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False).ravel()
    for axes, kind in zip(panels, shown, strict=True):
        key, label = f"validation_{kind}_mae", _ERRORS[kind]
        for i, (name, rows) in enumerate(histories.items()):
            epochs = [r["epoch"] for r in rows]
            axes.plot(
                epochs,
                np.array([r.get(key) for r in rows], float),
                color=COLOURS[i % len(COLOURS)],
                linestyle=("-", "--", ":")[i // len(COLOURS) % 3],
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
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    return figure


def error_bars(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Test errors of every model on every split, beside the floor.

    Args:
        rows: of the report's table.
    """
    known = lambda kind: any(np.isfinite(row[f"test_{kind}"]) for row in rows)
    shown = [kind for kind in _ERRORS if known(kind)]
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
                    color=COLOURS[m % len(COLOURS)],
                    alpha=fade,
                    label=f"{model}, {place}",
                )
        axes.set_xticks(range(len(splits)), splits, fontsize=9)
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=8)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(models),
        fontsize=8,
        frameon=False,
    )
    return figure


def _mean_of(rows, split: str, model: str, column: str) -> float:
    """Mean over seeds; NaN where no such run is finished."""
    found = [r[column] for r in rows if (r["split"], r["model"]) == (split, model)]
    return float(np.mean(found)) if found else np.nan


def cost_accuracy(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Test error of energies against what a prediction costs, one panel a split.

    Args:
        rows: of the report's table.
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
            cost, error = ([r[k] for r in own] for k in ("cost", "test_energy"))
            axes.scatter(
                cost, error, color=COLOURS[m % len(COLOURS)], label=model, s=28
            )
        here = [r["cost"] for r in rows if r["split"] == split]
        axes.set(xscale="log", xlim=(min(here) / 2, 2 * max(here)))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{split} split", fontsize=9)
        axes.set_xlabel("energy and forces (µs/atom)", fontsize=8)
        axes.set_ylabel("energy MAE (meV/atom)", fontsize=8)
        axes.tick_params(labelsize=8)
    for axes in panels[len(splits) :]:
        axes.set_axis_off()
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return figure


_PANEL_ERRORS = {
    "element": "force MAE (meV/Å)",
    "element of a charge": "charge MAE (me)",
}
"""What panels of `breakdown` show where it is not the energy."""


def breakdown(
    panels: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]], title: str
) -> Figure:
    """Errors of every model by kind of structure; one panel a way to tell kinds apart.

    Args:
        panels: series of (kind, error) by model, by what the kinds are. Panels of a
            single kind, or of none, say nothing and are left out.
        title: of the figure.
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
            colour = COLOURS[models.index(model) % len(COLOURS)]
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
        ax.set_ylabel(_PANEL_ERRORS.get(name, "energy MAE (meV/atom)"), fontsize=8)
        ax.tick_params(axis="y", labelsize=7)
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(
        *handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    figure.suptitle(title, fontsize=10)
    return figure


def charge_densities(frames: Sequence[Any], title: str) -> Figure:
    """Distribution of labelled and predicted charges, one panel an element.

    Args:
        frames: of the test part, with `label_charges`.
        title: of the figure.
    """
    labelled = [f for f in frames if "label_charges" in f.arrays]
    numbers = np.concatenate([f.numbers for f in labelled])
    both = {
        "label": np.concatenate([f.arrays["label_charges"] for f in labelled]),
        "prediction": np.concatenate([f.arrays["model_charges"] for f in labelled]),
    }
    elements = [z for z in np.unique(numbers) if np.sum(numbers == z) > 1]
    columns = 4
    rows = -(-len(elements) // columns) or 1
    figure = Figure(figsize=(6.6, 1.5 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, z in zip(axes, elements, strict=False):
        for i, (name, charges) in enumerate(both.items()):
            x, height = _density(charges[numbers == z])
            ax.plot(x, height, color=COLOURS[i], linewidth=1.2, label=name)
        ax.set_title(chemical_symbols[z], fontsize=8)
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
    for ax in axes[len(elements) :]:
        ax.set_axis_off()
    figure.supxlabel("charge (e)", fontsize=8)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper right",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure


def _density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel density estimate on a grid; a spike where all values are equal."""
    spread = max(float(values.std()), 1e-3)
    x = np.linspace(values.min() - 3 * spread, values.max() + 3 * spread, 200)
    if np.ptp(values) < 1e-9:
        return x, np.exp(-((x - values[0]) ** 2) / (2 * spread**2))
    return x, gaussian_kde(values)(x)


def as_data_url(figure: Figure) -> str:
    """The figure as PNG text to put into a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
