import io
import sys
import types

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from sklearn.decomposition import PCA

from chemsplit import chemical_map, plot_map, plot_splits, project


def legend_labels(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def overlaps(figure):
    """Pairs of texts whose boxes overlap when drawn."""
    FigureCanvasAgg(figure).draw()
    boxes = [
        text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible()
    ]
    return [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_coordinates_are_principal_components(wide):
    ours = project(wide)
    theirs = PCA(2, svd_solver="full").fit_transform(wide.toarray().astype(float))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    np.testing.assert_allclose(ours, project(wide.toarray()), atol=1e-4)


def test_umap_is_called_with_rows_and_a_seed(wide, monkeypatch):
    options_of_umap = {}

    class FakeUMAP:
        def __init__(self, **options):
            options_of_umap.update(options)

        def fit_transform(self, X):
            return X[:, :2].astype(np.float32)

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=FakeUMAP))
    assert project(wide, method="umap", random_state=4).shape == (60, 2)
    assert options_of_umap["random_state"] == 4
    assert options_of_umap["metric"] == "cosine"
    assert options_of_umap["n_jobs"] == 1


@pytest.mark.slow
# umap-learn warns at import that its optional TensorFlow is missing
@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")
def test_umap_separates_blobs_and_is_reproducible(blobs):
    X, member = blobs
    coordinates = project(X, method="umap")
    np.testing.assert_array_equal(coordinates, project(X, method="umap"))
    centers = np.stack([coordinates[member == m].mean(0) for m in range(12)])
    distances = np.linalg.norm(coordinates[:, None] - centers[None], axis=-1)
    nearest = distances.argmin(1)
    assert (nearest == member).mean() > 0.95


def test_a_map_colored_by_set(blobs):
    X, member = blobs
    labels = np.where(member < 5, "train", np.where(member < 6, "validation", "test"))
    coordinates, figure = chemical_map(X, labels, title="cluster split")
    assert coordinates.shape == (120, 2)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "principal component 1"
    assert axes.get_ylabel() == "principal component 2"
    assert axes.get_title() == "cluster split"
    assert legend_labels(figure) == ["train", "validation", "test"]
    assert sum(len(c.get_offsets()) for c in axes.collections) == 120
    assert figure.get_figwidth() == pytest.approx(8.4 / 2.54)
    assert overlaps(figure) == []


def test_a_map_colored_by_error_has_a_color_bar(blobs, rng):
    X, member = blobs
    errors = rng.uniform(size=120)
    errors[3] = np.nan
    labels = np.where(member < 6, "train", "test")
    coordinates = project(X)
    figure = plot_map(coordinates, labels, values=errors, value_label="error (meV)")
    axes, bar = figure.axes
    assert bar.get_ylabel() == "error (meV)"
    assert legend_labels(figure) == ["train", "test", "no value"]
    assert sum(len(c.get_offsets()) for c in axes.collections) == 120
    assert overlaps(figure) == []


def test_twenty_clusters_are_distinguishable(rng):
    figure = plot_map(rng.normal(size=(200, 2)), np.arange(200) % 20)
    assert legend_labels(figure) == [str(i) for i in range(20)]
    styles = {
        (tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes())
        for c in figure.axes[0].collections
    }
    assert len(styles) == 20
    assert overlaps(figure) == []


def test_a_map_without_labels_has_no_legend(rng):
    points = rng.normal(size=(9, 2))
    assert plot_map(points).legends == []
    assert plot_map(points, values=points[:, 0]).legends == []


def test_pyplot_is_not_used(rng):
    plot_map(rng.normal(size=(9, 2))).savefig(io.BytesIO())
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a"]}, "`labels` must have one entry for each of the 50"),
        ({"values": [1.0]}, "`values` must have one entry for each of the 50"),
        ({"values": np.full(50, np.nan)}, "must contain a finite number"),
        ({"labels": np.arange(50)}, "labels can be distinguished, got 50"),
        (
            {"labels": np.arange(50) % 7, "values": np.ones(50)},
            "shown by 5 markers, got 7 labels",
        ),
        ({"coordinates": np.ones((50, 3))}, "A plot needs two coordinates, got 3"),
    ],
)
def test_invalid_plots_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        plot_map(**{"coordinates": np.ones((50, 2))} | options)


def test_invalid_projections_are_rejected():
    with pytest.raises(ValueError, match="three structures and two features"):
        project(np.eye(2))
    with pytest.raises(ValueError, match='`method` must be "pca" or "umap"'):
        project(np.eye(4), method="tsne")


@pytest.mark.parametrize(
    ("count", "grid"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (7, (2, 4))]
)
def test_splits_are_plotted_side_by_side_in_one_projection(blobs, rng, count, grid):
    X, member = blobs
    labels = np.where(member < 6, "train", "test")
    splits = {f"split {i}": rng.permutation(labels) for i in range(count)}
    coordinates, figure = plot_splits(X, splits)
    np.testing.assert_array_equal(coordinates, project(X))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == list(splits)
    assert figure.axes[0].get_gridspec().get_geometry() == grid
    for axes, labels in zip(panels, splits.values(), strict=True):
        train, test = axes.collections
        np.testing.assert_allclose(train.get_offsets(), coordinates[labels == "train"])
        np.testing.assert_allclose(test.get_offsets(), coordinates[labels == "test"])
    assert legend_labels(figure) == ["train", "test"]
    assert figure.get_figwidth() == pytest.approx(17.5 / 2.54)
    assert overlaps(figure) == []
    assert min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text()) >= 7


def test_given_coordinates_are_used(blobs, rng):
    X, member = blobs
    given = rng.normal(size=(120, 2))
    coordinates, figure = plot_splits(X, {"clusters": member}, coordinates=given)
    assert coordinates is given
    assert len(legend_labels(figure)) == 12


def test_other_labels_are_gray_and_drawn_first(rng):
    labels = np.where(np.arange(60) % 3, "Zn", "other")
    figure = plot_map(rng.normal(size=(60, 2)), labels)
    assert legend_labels(figure) == ["other", "Zn"]
    red, green, blue, _ = figure.axes[0].collections[0].get_facecolor()[0]
    assert red == green == blue


def test_missing_splits_and_labels_of_wrong_length_are_rejected(blobs):
    with pytest.raises(ValueError, match="`splits` is empty"):
        plot_splits(blobs[0], {})
    with pytest.raises(ValueError, match="one entry for each of the 120 structures"):
        plot_splits(blobs[0], {"short": ["train", "test"]})
