import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.dummy import DummyRegressor
from sklearn.metrics import adjusted_rand_score, pairwise_distances
from sklearn.model_selection import cross_val_score

from chemsplit import ClusterSplit, cluster_labels
from chemsplit._row_space import row_space_coordinates


def clusters_in(member, rows):
    return set(member[rows].tolist())


@pytest.mark.parametrize("test_size", [0.2, 0.5, 36])
@pytest.mark.parametrize("seed", range(3))
def test_each_cluster_is_in_one_set_and_the_size_is_close(blobs, test_size, seed):
    X, member = blobs
    split = ClusterSplit(n_clusters=12, test_size=test_size, random_state=seed)
    ((train, test),) = split.split(X)
    assert sorted([*train, *test]) == list(range(120))
    assert not clusters_in(member, train) & clusters_in(member, test)
    requested = test_size * 120 if test_size < 1 else test_size
    assert abs(len(test) - requested) <= 5


def test_the_number_of_training_samples_is_the_closest_possible(rng):
    sizes = np.array([7, 11, 13, 29])
    member = np.repeat(np.arange(4), sizes)
    X = 10 * np.eye(4)[member] + 0.01 * rng.normal(size=(60, 4))
    for seed in range(10):
        split = ClusterSplit(n_clusters=4, train_size=24, random_state=seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("chemsplit._draw._TOLERANCE", 1.0)
            ((train, test),) = split.split(X)
        inside = [c for c in range(4) if (member[train] == c).any()]
        assert len(train) == sizes[inside].sum()
        # Neither removing nor adding a cluster brings the number closer.
        difference = abs(len(train) - 24)
        others = [sizes[c] for c in range(4) if c not in inside]
        if len(inside) > 1:
            assert difference <= max(abs(len(train) - sizes[c] - 24) for c in inside)
        if len(others) > 1:
            assert difference <= max(abs(len(train) + size - 24) for size in others)


def test_the_published_split_counts_clusters(rng):
    member = np.repeat(np.arange(20), np.arange(1, 21))
    X = 100 * np.eye(20)[member] + rng.normal(size=(210, 20))
    for share, n_test in ((0.5, 10), (0.3, 6)):
        split = ClusterSplit(test_size=share, fraction_of="clusters", random_state=1)
        ((train, test),) = split.split(X)
        assert len(clusters_in(member, test)) == n_test
        assert len(clusters_in(member, train)) == 20 - n_test
        assert not clusters_in(member, train) & clusters_in(member, test)


def published_clusters(X, train_ratio, seed, n_init):
    """The published cluster split: returns the test set for twenty clusters."""
    labels = KMeans(20, n_init=n_init, random_state=seed).fit_predict(X)
    clusters = np.unique(labels)
    rng = np.random.RandomState(seed)
    n_train = int(train_ratio * len(clusters))
    train = rng.choice(clusters, n_train, replace=False)
    return np.flatnonzero(~np.isin(labels, train))


@pytest.mark.parametrize("shape", [(150, 8), (60, 400)])
@pytest.mark.parametrize("n_init", [1, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_test_sets_are_the_published_ones(rng, shape, n_init, seed):
    X = rng.normal(
        size=shape
    )  # no clear clusters, so the labels depend on every random number
    for ratio in (0.5, 0.7):
        split = ClusterSplit(
            train_size=ratio, fraction_of="clusters", n_init=n_init, random_state=seed
        )
        test = published_clusters(X, ratio, seed, n_init)
        for form in (X, csr_matrix(X)):
            np.testing.assert_array_equal(next(split.split(form))[1], test)


def test_labels_equal_those_of_k_means_without_normalization(blobs):
    X, member = blobs
    X = X * np.linspace(1, 1.5, 120)[:, None]  # normalized rows would differ
    plain = KMeans(12, n_init=10, random_state=3).fit(X).labels_
    labels = cluster_labels(X, n_clusters=12, random_state=3)
    assert adjusted_rand_score(labels, plain) == 1
    assert adjusted_rand_score(plain, member) == 1
    two = np.repeat([[1.0, 0.0], [9.0, 0.0]], 5, axis=0)  # one direction, two lengths
    labels = cluster_labels(two, n_clusters=2, random_state=0)
    assert labels[0] != labels[9]


def test_sparse_and_dense_rows_give_the_same_clusters(wide):
    dense = wide.toarray()
    options = {"n_clusters": 5, "random_state": 0}
    labels = cluster_labels(wide, **options)
    assert adjusted_rand_score(labels, cluster_labels(dense, **options)) == 1
    plain = KMeans(5, n_init=10, random_state=0).fit(dense).labels_
    assert adjusted_rand_score(labels, plain) == 1


@pytest.mark.parametrize("form", [csr_matrix, csr_matrix.toarray])
def test_row_space_coordinates_preserve_distances_and_cosines(wide, form):
    reduced = row_space_coordinates(form(wide))
    assert reduced.shape[1] <= 60
    dense = wide.toarray().astype(float)
    for metric in ("euclidean", "cosine"):
        distances = pairwise_distances(reduced, metric=metric)
        exact = pairwise_distances(dense, metric=metric)
        np.testing.assert_allclose(distances, exact, atol=1e-6)


def test_mini_batch_k_means_finds_well_separated_clusters(blobs, tmp_path):
    X, member = blobs
    labels = cluster_labels(X, n_clusters=12, batch_size=64, random_state=0)
    assert adjusted_rand_score(labels, member) == 1
    mapped = np.memmap(tmp_path / "rows", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    again = cluster_labels(mapped, n_clusters=12, batch_size=64, random_state=0)
    np.testing.assert_array_equal(again, labels)
    sparse = cluster_labels(csr_matrix(X), n_clusters=12, batch_size=64, random_state=0)
    assert adjusted_rand_score(sparse, member) == 1
    split = ClusterSplit(n_clusters=12, batch_size=64, test_size=0.5, random_state=0)
    ((train, test),) = split.split(X)
    assert not clusters_in(member, train) & clusters_in(member, test)


def test_groups_have_one_label_and_are_in_one_set(rng):
    groups = np.array([f"material {i % 15}" for i in range(90)])
    X = rng.normal(size=(90, 4))
    labels = cluster_labels(X, groups, n_clusters=5, random_state=0)
    means = np.stack([X[groups == g].mean(0) for g in np.unique(groups)])
    plain = KMeans(5, n_init=10, random_state=0).fit(means).labels_
    labels_per_group = [labels[groups == g].tolist() for g in np.unique(groups)]
    assert all(len(set(labels)) == 1 for labels in labels_per_group)
    first_labels = [labels[0] for labels in labels_per_group]
    assert adjusted_rand_score(plain, first_labels) == 1
    split = ClusterSplit(3, n_clusters=10, test_size=0.4, random_state=0)
    for train, test in split.split(X, groups=groups):
        assert not set(groups[train]) & set(groups[test])


def test_groups_of_narrow_sparse_rows_are_clustered(blobs):
    X, member = blobs
    pairs = np.arange(120) // 2
    labels = cluster_labels(csr_matrix(X), pairs, n_clusters=12, random_state=0)
    assert adjusted_rand_score(labels, member) == 1


def test_the_split_depends_on_the_seed(blobs):
    X, _ = blobs
    split = ClusterSplit(3, n_clusters=12, test_size=0.5, random_state=5)
    first, again = list(split.split(X)), list(split.split(X))
    for (a, b), (c, d) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    test_sets = {tuple(test) for _, test in first}
    test_sets |= {tuple(test) for _, test in clone_with(split, 6).split(X)}
    assert len(test_sets) > 3


def clone_with(split, seed):
    names = ("n_splits", "n_clusters", "fraction_of", "test_size", "train_size")
    options = {name: getattr(split, name) for name in names}
    return ClusterSplit(**options, random_state=seed)


def test_works_with_scikit_learn(blobs):
    X, member = blobs
    split = ClusterSplit(4, n_clusters=12, test_size=0.25, random_state=0)
    assert split.get_n_splits() == 4
    assert " ".join(repr(split).split()) == (
        "ClusterSplit(batch_size=None, fraction_of='samples', n_clusters=12, "
        "n_init=10, n_splits=4, random_state=0, test_size=0.25, train_size=None)"
    )
    assert clone(split, safe=False).n_clusters == 12
    assert split.get_metadata_routing().split.requests == {"groups": True}
    scores = cross_val_score(DummyRegressor(), X, member, groups=member, cv=split)
    assert scores.shape == (4,)


def test_a_test_fraction_far_from_the_requested_one_is_reported(rng):
    X = np.concatenate([np.zeros((90, 2)), 50 + rng.normal(size=(10, 2))])
    split = ClusterSplit(n_clusters=2, test_size=0.5, random_state=0)
    with pytest.warns(UserWarning, match=r"test fraction is (10|90)% instead of 50%"):
        next(split.split(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 1}, "between 2 and the number of samples, 120, got 1"),
        ({"n_clusters": 121}, "between 2 and the number of samples, 120, got 121"),
        ({"n_clusters": 5, "train_size": 0.3, "test_size": 0.3}, "leave some unused"),
        ({"n_clusters": 5, "fraction_of": "atoms"}, "`fraction_of` must be"),
        ({"n_clusters": 5, "test_size": 1.5}, "test_size=1.5"),
        ({"n_clusters": 5, "n_init": 0}, "`n_init` must be a positive number, got 0"),
    ],
)
def test_invalid_options_are_rejected(blobs, options, message):
    with pytest.raises(ValueError, match=message):
        next(ClusterSplit(**options).split(blobs[0]))


def test_more_clusters_than_groups_are_rejected(blobs):
    X, member = blobs
    with pytest.raises(ValueError, match="number of groups, 12, got 20"):
        next(ClusterSplit(n_clusters=20).split(X, groups=member))


def test_descriptors_with_nan_are_rejected(blobs):
    X = blobs[0].copy()
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        next(ClusterSplit(n_clusters=3).split(X))
