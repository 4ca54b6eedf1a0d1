"""Several splits of one chemical space side by side."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ._map import CM, PARTS, POINTS, axis_names, draw_labels, draw_legend, point_size
from ._project import project

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_COLUMNS = 4


def plot_splits(
    X: Any,
    splits: Mapping[str, ArrayLike],
    *,
    method: Literal["pca", "umap"] = "pca",
    random_state: int | None = 0,
    coordinates: ArrayLike | None = None,
    width: float = 17.5,
) -> tuple[np.ndarray, "Figure"]:
    """Draw one map for each split, all in the same projection.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `describe`.
    splits : mapping of str to array-like of shape (n_samples,)
        Title of each map, and the part or other label of each structure, as from
        `Split.labels`.
    method, random_state
        As in `project`.
    coordinates : array-like of shape (n_samples, 2), default=None
        A projection made before, instead of a new one.
    width : float, default=17.5
        Width of the figure, cm; the default is a page of a journal.

    Returns
    -------
    coordinates : ndarray of shape (n_samples, 2)
        The projection.
    figure : matplotlib.figure.Figure
        Save it with its `savefig`; nothing is shown.
    """
    from matplotlib.figure import Figure

    if not splits:
        raise ValueError("There is no split to draw: `splits` is empty.")
    if coordinates is None:
        coordinates = project(X, method=method, random_state=random_state)
    points = np.asarray(coordinates)
    rows = math.ceil(len(splits) / _MOST_COLUMNS)
    columns = math.ceil(len(splits) / rows)
    height = (width / columns * 1.05 * rows + 0.8) * CM
    figure = Figure(figsize=(width * CM, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    seen, size = {}, point_size(len(points))
    for axes, (name, labels) in zip(panels, splits.items(), strict=False):
        draw_labels(axes, points, labels, size)
        axes.set_title(name, fontsize=POINTS)
        axes.set_xticks([])
        axes.set_yticks([])
        handles, texts = axes.get_legend_handles_labels()
        seen |= dict(zip(texts, handles, strict=True))
    for axes in panels[len(splits) :]:
        axes.set_axis_off()
    order = [part for part in PARTS if part in seen] or list(seen)
    draw_legend(figure, [seen[name] for name in order], order, size, "upper")
    across, up = axis_names(method)
    figure.supxlabel(across, fontsize=POINTS)
    figure.supylabel(up, fontsize=POINTS)
    return points, figure
