"""Plots of several splits of one data set, side by side."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ._map import (
    CM,
    FONT_SIZE,
    SET_COLORS,
    axis_names,
    draw_labels,
    draw_legend,
    point_size,
)
from ._project import project

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_COLUMNS = 4


def plot_splits(
    X: Any,
    splits: Mapping[str, ArrayLike],
    *,
    method: Literal["pca", "umap"] = "pca",
    random_state: int | None = 0,
    coordinates: ArrayLike | None = None,
    width: float = 17.5,
) -> tuple[np.ndarray, "Figure"]:
    """Plot each split in its own panel, all in the same projection.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `describe`.
    splits : mapping of str to array-like of shape (n_samples,)
        Title of each panel, and the set or other label of each structure, as from
        `Split.labels`.
    method, random_state
        As in `project`.
    coordinates : array-like of shape (n_samples, 2), default=None
        Coordinates of an earlier projection; None computes them.
    width : float, default=17.5
        Width of the figure, cm; the default is two columns of a journal.

    Returns
    -------
    coordinates : ndarray of shape (n_samples, 2)
        Coordinates of the structures.
    figure : matplotlib.figure.Figure
        Figure, not shown; write it with its `savefig`.
    """
    from matplotlib.figure import Figure

    if not splits:
        raise ValueError("There is no split to plot: `splits` is empty.")
    if coordinates is None:
        coordinates = project(X, method=method, random_state=random_state)
    points = np.asarray(coordinates)
    rows = math.ceil(len(splits) / _MAX_COLUMNS)
    columns = math.ceil(len(splits) / rows)
    height = (width / columns * 1.05 * rows + 0.8) * CM
    figure = Figure(figsize=(width * CM, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    handle_of, size = {}, point_size(len(points))
    for axes, (name, labels) in zip(panels, splits.items(), strict=False):
        draw_labels(axes, points, labels, size)
        axes.set_title(name, fontsize=FONT_SIZE)
        axes.set_xticks([])
        axes.set_yticks([])
        handles, texts = axes.get_legend_handles_labels()
        handle_of |= dict(zip(texts, handles, strict=True))
    for axes in panels[len(splits) :]:
        axes.set_axis_off()
    order = [name for name in SET_COLORS if name in handle_of] or list(handle_of)
    draw_legend(figure, [handle_of[name] for name in order], order, size, "upper")
    x_label, y_label = axis_names(method)
    figure.supxlabel(x_label, fontsize=FONT_SIZE)
    figure.supylabel(y_label, fontsize=FONT_SIZE)
    return points, figure
