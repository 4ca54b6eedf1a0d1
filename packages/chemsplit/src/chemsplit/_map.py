"""Figures of chemical space, coloured by part, cluster or error."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from ._project import project

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinct to colour-blind readers; black comes last.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#E69F00"),
    *("#56B4E9", "#CC79A7", "#F0E442", "#000000"),
)
_MARKERS = "os^Dv"
# The parts of a split look the same in every figure; the test part is drawn last.
PARTS = {
    "unused": "#BBBBBB",
    "train": "#0072B2",
    "validation": "#E69F00",
    "test": "#D55E00",
}
POINTS = 8.0
CM = 1 / 2.54
_LARGEST = 22.0


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
    """Draw a map coloured by part or cluster, or by a number such as an error.

    Parameters
    ----------
    coordinates : array-like of shape (n_samples, 2)
        As from `project`.
    labels : array-like of shape (n_samples,), default=None
        Part of each structure ("train", "validation", "test", as from `Split.labels`)
        or any other label, such as its cluster. With `values` it decides the marker.
    values : array-like of shape (n_samples,), default=None
        A number for each structure, shown in colour with a colour bar.
    value_label : str, default="value"
        What the numbers are, with their unit.
    axis_labels : tuple of str, default=("component 1", "component 2")
        Names of the two coordinates.
    title : str, default=None
        Stands above the map.
    width : float, default=8.4
        Width of the figure, cm; the default is one column of a journal.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with its `savefig`; nothing is shown.
    """
    from matplotlib.figure import Figure

    points = check_array(coordinates, input_name="coordinates")
    if points.shape[1] != 2:
        raise ValueError(f"A map has two coordinates, got {points.shape[1]}.")
    names = _one_each(labels, points, "labels")
    numbers = _one_each(values, points, "values")
    figure = Figure(figsize=(width * CM, 0.85 * width * CM), layout="constrained")
    axes = figure.add_subplot()
    size = point_size(len(points))
    if numbers is None:
        draw_labels(
            axes, points, np.full(len(points), "") if names is None else names, size
        )
    else:
        _scatter_values(axes, points, names, numbers, size, value_label)
    axes.set_xlabel(axis_labels[0], fontsize=POINTS)
    axes.set_ylabel(axis_labels[1], fontsize=POINTS)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=POINTS - 1)
    if title is not None:
        axes.set_title(title, fontsize=POINTS)
    draw_legend(figure, *axes.get_legend_handles_labels(), size, "lower")
    return figure


def point_size(n_points: int) -> float:
    """Size of a point, points²: smaller where it is crowded."""
    return float(np.clip(4000 / n_points, 3, _LARGEST))


def draw_legend(
    figure: "Figure", handles: list[Any], texts: list[str], size: float, place: str
) -> None:
    """Explain labels beside the map, in as many columns as fit one of a journal."""
    if not handles:
        return
    outside: Any = f"outside {place} center"  # the stubs know other places only
    figure.legend(
        handles,
        texts,
        loc=outside,
        markerscale=float(np.sqrt(_LARGEST / size)),  # points may be small, signs not
        ncols=min(5 if max(map(len, texts)) < 8 else 3, len(texts)),
        fontsize=POINTS - 1,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
    )


def axis_names(method: str) -> tuple[str, str]:
    """Name the coordinates of a projection."""
    stem = {"pca": "principal component", "umap": "UMAP"}[method]
    return f"{stem} 1", f"{stem} 2"


def _one_each(
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
    """Colour and marker of each label, in the order of drawing."""
    found = np.unique(names).tolist()
    if set(found) <= PARTS.keys():
        return {part: (PARTS[part], "o") for part in PARTS if part in found}
    if len(found) > len(_COLOURS) * len(_MARKERS):
        raise ValueError(
            f"{len(found)} labels cannot be told apart; pass them as `values`, or "
            f"join them into at most {len(_COLOURS) * len(_MARKERS)}."
        )
    others = {"other": (PARTS["unused"], "o")} if "other" in found else {}
    return others | {
        name: (_COLOURS[i % len(_COLOURS)], _MARKERS[i // len(_COLOURS)])
        for i, name in enumerate(one for one in found if one != "other")
    }


def draw_labels(
    axes: "Axes", points: np.ndarray, labels: ArrayLike, size: float
) -> None:
    """Scatter each label in its colour."""
    names = _one_each(labels, points, "labels")
    for name, (colour, marker) in _styles(np.asarray(names)).items():
        axes.scatter(
            *points[names == name].T,
            s=size,
            c=colour,
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
    """Scatter in the colours of a bar; what has no number is grey and lies below."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    known = np.isfinite(numbers)
    if not known.any():
        raise ValueError("`values` holds no finite number to colour by.")
    names = np.full(len(points), "") if names is None else names
    found = list(_styles(names))
    if len(found) > len(_MARKERS):
        raise ValueError(
            "With `values` a label is shown by its marker, of which there are "
            f"{len(_MARKERS)}, got {len(found)} labels."
        )
    colours = ScalarMappable(Normalize(*np.quantile(numbers[known], [0, 1])), "viridis")
    for marker, name in zip(_MARKERS, found, strict=False):
        shown = known & (names == name)
        axes.scatter(
            *points[shown].T,
            s=size,
            c=colours.to_rgba(numbers[shown]),
            marker=marker,
            linewidths=0,
        )
        axes.scatter([], [], s=size, c="#555555", marker=marker, label=str(name))
    if not known.all():
        style = {"c": PARTS["unused"], "linewidths": 0, "zorder": 0}
        axes.scatter(*points[~known].T, s=size, label="no value", **style)
    bar = axes.figure.colorbar(colours, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label(value_label, fontsize=POINTS)
    bar.ax.tick_params(labelsize=POINTS - 1)


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
    """Project and draw in one call.

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
        To draw more maps of the same projection with `plot_map`.
    figure : matplotlib.figure.Figure
        The map.
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
