"""Plots of chemical space, colored by set, cluster or error."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from ._project import project

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, safe for color-blind readers.
_COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#E69F00"),
    *("#56B4E9", "#CC79A7", "#F0E442", "#000000"),
)
_MARKERS = "os^Dv"
# Color of each set, in the order of drawing: the same in all figures.
SET_COLORS = {
    "unused": "#BBBBBB",
    "train": "#0072B2",
    "validation": "#E69F00",
    "test": "#D55E00",
}
FONT_SIZE = 8.0
CM = 1 / 2.54
_MAX_POINT_SIZE = 22.0


def plot_map(
    coordinates: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    values: ArrayLike | None = None,
    value_label: str = "value",
    axis_labels: tuple[str, str] = ("component 1", "component 2"),
    title: str | None = None,
    width: float = 8.4,
) -> "Figure":
    """Plot points colored by set or cluster, or by a number such as an error.

    Parameters
    ----------
    coordinates : array-like of shape (n_samples, 2)
        Coordinates, as from `project`.
    labels : array-like of shape (n_samples,), default=None
        Set of each structure ("train", "validation", "test", as from `Split.labels`)
        or any other label, such as its cluster, shown by color; with `values`, shown by
        the marker. None shows no labels.
    values : array-like of shape (n_samples,), default=None
        Number for each structure, shown by color with a color bar. None shows none.
    value_label : str, default="value"
        Label of the color bar, with the unit.
    axis_labels : tuple of str, default=("component 1", "component 2")
        Names of the two coordinates.
    title : str, default=None
        Title of the plot; None for no title.
    width : float, default=8.4
        Width of the figure, cm; the default is one column of a journal.

    Returns
    -------
    matplotlib.figure.Figure
        Figure, not shown; write it with its `savefig`.
    """
    from matplotlib.figure import Figure

    points = check_array(coordinates, input_name="coordinates")
    if points.shape[1] != 2:
        raise ValueError(f"A plot needs two coordinates, got {points.shape[1]}.")
    names = _check_one_each(labels, points, "labels")
    numbers = _check_one_each(values, points, "values")
    figure = Figure(figsize=(width * CM, 0.85 * width * CM), layout="constrained")
    axes = figure.add_subplot()
    size = point_size(len(points))
    if numbers is None:
        draw_labels(
            axes, points, np.full(len(points), "") if names is None else names, size
        )
    else:
        _scatter_values(axes, points, names, numbers, size, value_label)
    axes.set_xlabel(axis_labels[0], fontsize=FONT_SIZE)
    axes.set_ylabel(axis_labels[1], fontsize=FONT_SIZE)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=FONT_SIZE - 1)
    if title is not None:
        axes.set_title(title, fontsize=FONT_SIZE)
    draw_legend(figure, *axes.get_legend_handles_labels(), size, "lower")
    return figure


def point_size(n_points: int) -> float:
    """Return the area of a point, points²: smaller for more points."""
    return float(np.clip(4000 / n_points, 3, _MAX_POINT_SIZE))


def draw_legend(
    figure: "Figure", handles: list[Any], texts: list[str], size: float, location: str
) -> None:
    """Add a legend above or below the axes, in columns that fit the figure's width."""
    if not handles:
        return
    outside: Any = f"outside {location} center"  # missing in matplotlib's type stubs
    figure.legend(
        handles,
        texts,
        loc=outside,
        markerscale=float(np.sqrt(_MAX_POINT_SIZE / size)),  # the same in all figures
        ncols=min(5 if max(map(len, texts)) < 8 else 3, len(texts)),
        fontsize=FONT_SIZE - 1,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
    )


def axis_names(method: str) -> tuple[str, str]:
    """Return the names of the two coordinates of a projection."""
    stem = {"pca": "principal component", "umap": "UMAP"}[method]
    return f"{stem} 1", f"{stem} 2"


def _check_one_each(
    given: ArrayLike | None, points: np.ndarray, name: str
) -> np.ndarray | None:
    if given is None:
        return None
    array = np.asarray(given)
    if array.shape != (len(points),):
        raise ValueError(
            f"`{name}` must have one entry for each of the {len(points)} structures, "
            f"got shape {array.shape}."
        )
    return array


def _styles(names: np.ndarray) -> dict[Any, tuple[str, str]]:
    """Return the color and marker of each label, in the order of drawing."""
    labels = np.unique(names).tolist()
    if set(labels) <= SET_COLORS.keys():
        return {name: (SET_COLORS[name], "o") for name in SET_COLORS if name in labels}
    if len(labels) > len(_COLORS) * len(_MARKERS):
        raise ValueError(
            f"At most {len(_COLORS) * len(_MARKERS)} labels can be distinguished, got "
            f"{len(labels)}; merge some, or pass them as `values`."
        )
    others = {"other": (SET_COLORS["unused"], "o")} if "other" in labels else {}
    return others | {
        name: (_COLORS[i % len(_COLORS)], _MARKERS[i // len(_COLORS)])
        for i, name in enumerate(label for label in labels if label != "other")
    }


def draw_labels(
    axes: "Axes", points: np.ndarray, labels: ArrayLike, size: float
) -> None:
    """Plot the points of each label in its color."""
    names = _check_one_each(labels, points, "labels")
    for name, (color, marker) in _styles(np.asarray(names)).items():
        axes.scatter(
            *points[names == name].T,
            s=size,
            c=color,
            marker=marker,
            linewidths=0,
            alpha=0.85,
            label=str(name),
        )


def _scatter_values(
    axes: "Axes",
    points: np.ndarray,
    names: np.ndarray | None,
    numbers: np.ndarray,
    size: float,
    value_label: str,
) -> None:
    """Plot points colored by numbers; points without a number are gray."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = np.isfinite(numbers)
    if not finite.any():
        raise ValueError("`values` must contain a finite number, got none.")
    names = np.full(len(points), "") if names is None else names
    labels = list(_styles(names))
    if len(labels) > len(_MARKERS):
        raise ValueError(
            f"With `values` labels are shown by {len(_MARKERS)} markers, got "
            f"{len(labels)} labels; merge some."
        )
    colors = ScalarMappable(Normalize(*np.quantile(numbers[finite], [0, 1])), "viridis")
    for marker, name in zip(_MARKERS, labels, strict=False):
        selected = finite & (names == name)
        axes.scatter(
            *points[selected].T,
            s=size,
            c=colors.to_rgba(numbers[selected]),
            marker=marker,
            linewidths=0,
        )
        axes.scatter([], [], s=size, c="#555555", marker=marker, label=str(name))
    if not finite.all():
        style = {"c": SET_COLORS["unused"], "linewidths": 0, "zorder": 0}
        axes.scatter(*points[~finite].T, s=size, label="no value", **style)
    bar = axes.figure.colorbar(colors, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label(value_label, fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 1)


def chemical_map(
    X: Any,
    labels: ArrayLike | None = None,
    *,
    method: Literal["pca", "umap"] = "pca",
    random_state: int | None = 0,
    values: ArrayLike | None = None,
    value_label: str = "value",
    title: str | None = None,
) -> tuple[np.ndarray, "Figure"]:
    """Project descriptors to two dimensions and plot them.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `mean_soap`.
    labels, values, value_label, title
        As in `plot_map`.
    method, random_state
        As in `project`.

    Returns
    -------
    coordinates : ndarray of shape (n_samples, 2)
        Coordinates, for further plots with `plot_map`.
    figure : matplotlib.figure.Figure
        Plot of the coordinates.
    """
    coordinates = project(X, method=method, random_state=random_state)
    figure = plot_map(
        coordinates,
        labels,
        values=values,
        value_label=value_label,
        axis_labels=axis_names(method),
        title=title,
    )
    return coordinates, figure
