"""Figures of single models: predictions beside their labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from bench.evaluation.intervals import prediction_and_label
from bench.report.style import COLORS

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
    panels: list[tuple[str, str, Any]] = []
    if "energy" in kinds and (above := _above_floor(frames)) is not None:
        panels.append(("energy above the composition fit", "meV/atom", above))
    for kind, (what, unit) in PANELS.items():
        pair = _all_compared(frames, kind) if kind in kinds else None
        if pair is not None:
            panels.append((what, unit, pair))
    columns = min(max(len(panels), 1), 3)
    rows = -(-len(panels) // columns) or 1
    figure = Figure(figsize=(3.3 * columns, 3.0 * rows), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes, (what, unit, (guess, truth)) in zip(every, panels, strict=False):
        _scatter(axes, truth, guess)
        axes.set_xlabel(f"label ({unit})")
        axes.set_ylabel(f"prediction ({unit})")
        axes.set_title(what, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def _above_floor(frames: Sequence[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Predicted and labelled energies without those of the elements, meV an atom."""
    labelled = [f for f in frames if "label_energy" in f.info]
    pair = _all_compared(labelled, "energy")
    if pair is None:
        return None
    floor = np.array([f.info["floor_energy"] / len(f) for f in labelled])
    return 1000 * (pair[0] - floor), 1000 * (pair[1] - floor)


def _all_compared(frames: Sequence[Any], kind: str):
    """Predictions and labels of all frames; None without any."""
    found = [
        pair for f in frames if (pair := prediction_and_label(f, kind)) is not None
    ]
    return tuple(map(np.concatenate, zip(*found, strict=True))) if found else None


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
            ax.plot(x, height, color=COLORS[i], linewidth=1.2, label=name)
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
