import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.dummy import DummyRegressor
from sklearn.metrics import adjusted_rand_score, pairwise_distances
from sklearn.model_selection import cross_val_score

from chemsplit import ClusterSplit, cluster_labels
from chemsplit._coordinates import row_coordinates


def sides(member, part):
    return set(member[part].tolist())


@pytest.mark.parametrize("test_size", [0.2, 0.5, 36])
@pytest.mark.parametrize("seed", range(3))
def test_whole_clusters_of_the_wanted_share(blobs, test_size, seed):
    X, member = blobs
    split = ClusterSplit(n_clusters=12, test_size=test_size, random_state=seed)
    ((train, test),) = split.split(X)
    assert sorted([*train, *test]) == list(range(120))
    assert not sides(member, train) & sides(member, test)
    wanted = test_size * 120 if test_size < 1 else test_size
    assert abs(len(test) - wanted) <= 5


def test_the_cut_is_the_nearest_possible_one(rng):
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
        # no drawn cluster could be left, and the next one could not be added
        nearest = abs(len(train) - 24)
        others = [sizes[c] for c in range(4) if c not in inside]
        if len(inside) > 1:
            assert nearest <= max(abs(len(train) - sizes[c] - 24) for c in inside)
        if len(others) > 1:
            assert nearest <= max(abs(len(train) + size - 24) for size in others)


def test_the_published_draw_counts_clusters(rng):
    member = np.repeat(np.arange(20), np.arange(1, 21))
    X = 100 * np.eye(20)[member] + rng.normal(size=(210, 20))
    for share, n_test in ((0.5, 10), (0.3, 6)):
        split = ClusterSplit(test_size=share, share_of="clusters", random_state=1)
        ((train, test),) = split.split(X)
        assert len(sides(member, test)) == n_test
        assert len(sides(member, train)) == 20 - n_test
        assert not sides(member, train) & sides(member, test)


def published_clusters(X, train_ratio, seed, n_init):
    """The cluster split as published: the test part of twenty clusters."""
    labels = KMeans(20, n_init=n_init, random_state=seed).fit_predict(X)
    names = np.unique(labels)
    draws = np.random.RandomState(seed)
    drawn = draws.choice(names, int(train_ratio * len(names)), replace=False)
    return np.flatnonzero(~np.isin(labels, drawn))


@pytest.mark.parametrize("shape", [(150, 8), (60, 400)])
@pytest.mark.parametrize("n_init", [1, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_test_sets_are_the_published_ones(rng, shape, n_init, seed):
    X = rng.normal(size=shape)  # no clear clusters: the labels hang on every draw
    for ratio in (0.5, 0.7):
        split = ClusterSplit(
            train_size=ratio, share_of="clusters", n_init=n_init, random_state=seed
        )
        test = published_clusters(X, ratio, seed, n_init)
        for form in (X, csr_matrix(X)):
            np.testing.assert_array_equal(next(split.split(form))[1], test)


def test_the_labels_are_those_of_k_means_on_the_rows_as_they_are(blobs):
    X, member = blobs
    X = X * np.linspace(1, 1.5, 120)[:, None]  # normalised rows would differ
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
def test_fewer_columns_keep_all_distances_and_cosines(wide, form):
    small = row_coordinates(form(wide))
    assert small.shape[1] <= 60
    dense = wide.toarray().astype(float)
    for metric in ("euclidean", "cosine"):
        kept = pairwise_distances(small, metric=metric)
        exact = pairwise_distances(dense, metric=metric)
        np.testing.assert_allclose(kept, exact, atol=1e-6)


def test_incremental_clusters_are_those_of_k_means_where_they_are_clear(
    blobs, tmp_path
):
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
    assert not sides(member, train) & sides(member, test)


def test_groups_have_one_label_and_stay_on_one_side(rng):
    groups = np.array([f"material {i % 15}" for i in range(90)])
    X = rng.normal(size=(90, 4))
    labels = cluster_labels(X, groups, n_clusters=5, random_state=0)
    means = np.stack([X[groups == g].mean(0) for g in np.unique(groups)])
    plain = KMeans(5, n_init=10, random_state=0).fit(means).labels_
    of_groups = [labels[groups == g].tolist() for g in np.unique(groups)]
    assert all(len(set(one)) == 1 for one in of_groups)
    assert adjusted_rand_score(plain, [one[0] for one in of_groups]) == 1
    split = ClusterSplit(3, n_clusters=10, test_size=0.4, random_state=0)
    for train, test in split.split(X, groups=groups):
        assert not set(groups[train]) & set(groups[test])


def test_groups_of_narrow_sparse_rows_are_clustered(blobs):
    X, member = blobs
    pairs = np.arange(120) // 2
    labels = cluster_labels(csr_matrix(X), pairs, n_clusters=12, random_state=0)
    assert adjusted_rand_score(labels, member) == 1


def test_the_seed_decides(blobs):
    X, _ = blobs
    split = ClusterSplit(3, n_clusters=12, test_size=0.5, random_state=5)
    first, again = list(split.split(X)), list(split.split(X))
    for (a, b), (c, d) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    tests = {tuple(test) for _, test in first}
    tests |= {tuple(t) for _, t in clone_with(split, 6).split(X)}
    assert len(tests) > 3


def clone_with(split, seed):
    names = ("n_splits", "n_clusters", "share_of", "test_size", "train_size")
    options = {name: getattr(split, name) for name in names}
    return ClusterSplit(**options, random_state=seed)


def test_scikit_learn_can_use_it(blobs):
    X, member = blobs
    split = ClusterSplit(4, n_clusters=12, test_size=0.25, random_state=0)
    assert split.get_n_splits() == 4
    assert repr(split) == (
        "ClusterSplit(batch_size=None, n_clusters=12, n_init=10, n_splits=4,\n"
        "       random_state=0, share_of='samples', test_size=0.25, train_size=None)"
    )
    assert clone(split, safe=False).n_clusters == 12
    assert split.get_metadata_routing().split.requests == {"groups": True}
    scores = cross_val_score(DummyRegressor(), X, member, groups=member, cv=split)
    assert scores.shape == (4,)


def test_a_share_that_whole_clusters_miss_is_reported(rng):
    X = np.concatenate([np.zeros((90, 2)), 50 + rng.normal(size=(10, 2))])
    split = ClusterSplit(n_clusters=2, test_size=0.5, random_state=0)
    with pytest.warns(UserWarning, match=r"test share of (10|90)% where 50% was want"):
        next(split.split(X))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_clusters": 1}, "between 2 and the number of samples, 120, got 1"),
        ({"n_clusters": 121}, "between 2 and the number of samples, 120, got 121"),
        ({"n_clusters": 5, "train_size": 0.3, "test_size": 0.3}, "leave some over"),
        ({"n_clusters": 5, "share_of": "atoms"}, "`share_of` must be"),
        ({"n_clusters": 5, "test_size": 1.5}, "test_size=1.5"),
        ({"n_clusters": 5, "n_init": 0}, "`n_init` must be a positive number, got 0"),
    ],
)
def test_what_cannot_be_done_is_refused(blobs, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        next(ClusterSplit(**options).split(blobs[0]))


def test_more_clusters_than_groups_are_refused(blobs):
    X, member = blobs
    with pytest.raises(ValueError, match="number of groups, 12, got 20"):
        next(ClusterSplit(n_clusters=20).split(X, groups=member))


def test_descriptors_that_are_not_numbers_are_refused(blobs):
    X = blobs[0].copy()
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        next(ClusterSplit(n_clusters=3).split(X))
