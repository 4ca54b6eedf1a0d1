"""Figures of single models: predictions against labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from bench.evaluation.intervals import prediction_and_label
from bench.labels import ERROR_SCALE, LABELS_BY_KIND
from bench.report.style import COLORS


def parity(frames: Sequence[Any], title: str, kinds: Sequence[str]) -> Figure:
    """Draws predictions against labels of the test set.

    Args:
        frames: frames of the test set, from `predictions.extxyz`.
        title: title of the figure.
        kinds: kinds of labels to compare; those without labels have no panel.
    """
    panels: list[tuple[str, str, Any]] = []
    for kind, label in LABELS_BY_KIND.items():
        if kind not in kinds:
            continue
        if label.is_extensive:
            title_of_panel = f"{label.text} relative to the composition fit"
            values, unit = _relative_energies(frames, kind), label.error_unit
        else:
            title_of_panel = label.text + (", all components" if label.shape else "")
            values, unit = _predictions_and_labels(frames, kind), label.unit
        if values is not None:
            panels.append((title_of_panel, unit, values))
    columns = min(max(len(panels), 1), 3)
    rows = -(-len(panels) // columns) or 1
    figure = Figure(figsize=(3.3 * columns, 3.0 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, unit, (predictions, labels)) in zip(
        all_axes, panels, strict=False
    ):
        _scatter(axes, labels, predictions)
        axes.set_xlabel(f"label ({unit})")
        axes.set_ylabel(f"prediction ({unit})")
        axes.set_title(name, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def _relative_energies(
    frames: Sequence[Any], kind: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns predictions and labels minus the composition fit, meV/atom."""
    labeled = [f for f in frames if prediction_and_label(f, kind) is not None]
    energies = _predictions_and_labels(labeled, kind)
    if energies is None:
        return None
    fit = np.array([f.info["floor_energy"] for f in labeled])
    scale = ERROR_SCALE / np.array([len(f) for f in labeled])
    return scale * (energies[0] - fit), scale * (energies[1] - fit)


def _predictions_and_labels(frames: Sequence[Any], kind: str):
    """Returns predictions and labels of all frames; None without labels."""
    values = [
        pair for f in frames if (pair := prediction_and_label(f, kind)) is not None
    ]
    return tuple(map(np.concatenate, zip(*values, strict=True))) if values else None


def _scatter(axes, x, y) -> None:
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, zorder=0)
    size = 6 if len(x) < 2000 else 1.5
    axes.scatter(
        x, y, s=size, alpha=0.4, color=COLORS[0], linewidths=0, rasterized=True
    )
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)


def charge_densities(frames: Sequence[Any], title: str) -> Figure:
    """Draws distributions of labels and predictions of charges, one panel per element.

    Args:
        frames: frames of the test set, some with `label_charges`.
        title: title of the figure.
    """
    labeled = [f for f in frames if "label_charges" in f.arrays]
    numbers = np.concatenate([f.numbers for f in labeled])
    charges_by_name = {
        "label": np.concatenate([f.arrays["label_charges"] for f in labeled]),
        "prediction": np.concatenate([f.arrays["model_charges"] for f in labeled]),
    }
    elements = [z for z in np.unique(numbers) if np.sum(numbers == z) > 1]
    columns = 4
    rows = -(-len(elements) // columns) or 1
    figure = Figure(figsize=(6.6, 1.5 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, z in zip(panels, elements, strict=False):
        for i, (name, charges) in enumerate(charges_by_name.items()):
            x, density = _density(charges[numbers == z])
            axes.plot(x, density, color=COLORS[i], linewidth=1.2, label=name)
        axes.set_title(chemical_symbols[z], fontsize=8)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    for axes in panels[len(elements) :]:
        axes.set_axis_off()
    figure.supxlabel("charge (e)", fontsize=8)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper right",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure


def _density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a kernel density estimate on a grid; a narrow peak for equal values."""
    deviation = max(float(values.std()), 1e-3)
    x = np.linspace(values.min() - 3 * deviation, values.max() + 3 * deviation, 200)
    if np.ptp(values) < 1e-9:
        return x, np.exp(-((x - values[0]) ** 2) / (2 * deviation**2))
    return x, gaussian_kde(values)(x)
