"""Figures of the report: what a run predicts, how it learned, where its data lie."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def parity(frames: Sequence[Any], title: str, charges: bool) -> Figure:
    """Predicted against labelled energies, forces and charges of the test part.

    Args:
        frames: from `predictions.extxyz`.
        title: of the figure.
        charges: whether the model's charges are physical.
    """
    test = [f for f in frames if f.info["part"] == "test"]
    labels = np.array([f.info["label_energy"] / len(f) for f in test])
    errors = np.array([f.get_potential_energy() / len(f) for f in test]) - labels
    panels = 2 + charges
    figure = Figure(figsize=(3.3 * panels, 3.1), layout="constrained")
    left, right, *rest = figure.subplots(1, panels)
    above = labels - np.array([f.info["floor_energy"] / len(f) for f in test])
    _scatter(left, 1000 * above, 1000 * (above + errors))
    left.set_xlabel("label (meV/atom)")
    left.set_ylabel("prediction (meV/atom)")
    left.set_title("energy above the composition fit", fontsize=9)
    if all("label_forces" in f.arrays for f in test):
        truth = np.concatenate([f.arrays["label_forces"].ravel() for f in test])
        guess = np.concatenate([f.get_forces().ravel() for f in test])
        _scatter(right, truth, guess)
    right.set_xlabel("label (eV/Å)")
    right.set_ylabel("prediction (eV/Å)")
    right.set_title("force components", fontsize=9)
    for axes in rest:
        labelled = [f for f in test if "label_charges" in f.arrays]
        truth = [f.arrays["label_charges"] for f in labelled]
        guess = [f.arrays["model_charges"] for f in labelled]
        if labelled:
            _scatter(axes, np.concatenate(truth), np.concatenate(guess))
        axes.set_xlabel("label (e)")
        axes.set_ylabel("prediction (e)")
        axes.set_title("charges", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


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


def learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Validation errors of every run over its epochs.

    Args:
        histories: rows of `metrics.jsonl` by run.
    """
    figure = Figure(figsize=(6.6, 3.0), layout="constrained")
    panels = figure.subplots(1, 2)
    keys = (
        ("validation_energy_mae", "energy MAE (meV/atom)"),
        ("validation_force_mae", "force MAE (meV/Å)"),
    )
    for axes, (key, label) in zip(panels, keys, strict=True):
        for i, (name, rows) in enumerate(histories.items()):
            epochs = [r["epoch"] for r in rows]
            axes.plot(
                epochs,
                np.array([r[key] for r in rows], float),
                color=COLOURS[i % len(COLOURS)],
                linestyle=("-", "--", ":")[i // len(COLOURS) % 3],
                label=name,
                linewidth=1.3,
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("{x:.0f}")
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
    figure = Figure(figsize=(6.6, 3.0), layout="constrained")
    panels = figure.subplots(1, 2)
    models = list(dict.fromkeys(r["model"] for r in rows))
    splits = list(dict.fromkeys(r["split"] for r in rows))
    keys = (("energy", "energy MAE (meV/atom)"), ("force", "force MAE (meV/Å)"))
    width = 0.8 / len(models)
    for axes, (key, label) in zip(panels, keys, strict=True):
        for m, model in enumerate(models):
            for place, fade in (("validation", 0.45), ("test", 1.0)):
                values = [
                    np.mean(
                        [
                            r[f"{place}_{key}"]
                            for r in rows
                            if (r["split"], r["model"]) == (split, model)
                        ]
                    )
                    for split in splits
                ]
                at = np.arange(len(splits)) + (m - (len(models) - 1) / 2) * width
                shift = -width / 4 if place == "validation" else width / 4
                axes.bar(
                    at + shift,
                    values,
                    width / 2.2,
                    color=COLOURS[m],
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


def as_data_url(figure: Figure) -> str:
    """The figure as PNG text to put into a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
