import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import ShuffleSplit

from chemsplit import ClusterSplit, separation


def split_indices(splitter, X):
    return next(splitter.split(X))


def test_a_cluster_split_separates_and_a_random_one_does_not(blobs):
    X, _ = blobs
    cluster = separation(
        X, *split_indices(ClusterSplit(n_clusters=12, test_size=0.5, random_state=0), X)
    )
    random = separation(
        X, *split_indices(ShuffleSplit(test_size=0.5, random_state=0), X)
    )
    assert cluster.familiar_share == 0
    assert 0.35 < random.familiar_share < 0.65
    assert cluster.test_to_train.high < random.test_to_train.low
    assert "is separated: 0%" in str(cluster)
    assert "is not separated" in str(random)
    assert str(random).count("\n") == 0


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_results_equal_those_from_all_pairs(rng, form, monkeypatch):
    monkeypatch.setattr("chemsplit._nearest_similarity._CHUNK_MIB", 0.01)  # many chunks
    X = rng.normal(size=(150, 6))
    train, test = np.arange(90), np.arange(90, 150)
    result = separation(form(X), train, test)
    pairs = cosine_similarity(X)
    test_to_train = pairs[np.ix_(test, train)].max(1)
    within_train = (pairs - 9 * np.eye(150))[np.ix_(train, train)].max(1)
    assert result.test_to_train.mean == pytest.approx(test_to_train.mean())
    assert result.test_to_train.low == pytest.approx(np.quantile(test_to_train, 0.05))
    assert result.within_train.median == pytest.approx(np.median(within_train))
    assert result.within_train.high == pytest.approx(np.quantile(within_train, 0.95))
    assert result.familiar_share == (test_to_train >= np.median(within_train)).mean()


def test_sparse_and_dense_rows_give_the_same_result(wide):
    train, test = np.arange(40), np.arange(40, 60)
    sparse, dense = (
        separation(X, train, test) for X in (wide, wide.toarray().astype(float))
    )
    assert sparse.test_to_train.median == pytest.approx(
        dense.test_to_train.median, rel=1e-6
    )
    pairs = cosine_similarity(wide.toarray()[test], wide.toarray()[train])
    assert dense.test_to_train.median == pytest.approx(
        np.median(pairs.max(1)), rel=1e-5
    )


def test_neighbors_of_the_same_group_are_ignored_within_the_training_set(rng):
    X = np.repeat(rng.normal(size=(20, 5)), 2, axis=0)  # each row twice
    groups = np.repeat(np.arange(20), 2)
    train, test = np.arange(30), np.arange(30, 40)
    assert separation(X, train, test).within_train.median == pytest.approx(1)
    assert separation(X, train, test, groups=groups).within_train.median < 0.999
    leaky = separation(X, train[::2], train[1::2], groups=groups)
    assert leaky.test_to_train.median == pytest.approx(1)
    assert leaky.familiar_share == 1


@pytest.mark.parametrize(
    ("train", "groups", "message"),
    [
        ([], None, "must not be empty, got 0 training and 2 test structures"),
        ([0], None, "within it are undefined"),
        ([0, 1], [0, 0, 1, 1], "within it are undefined"),
    ],
)
def test_sets_too_small_to_compare_are_rejected(train, groups, message):
    with pytest.raises(ValueError, match=message):
        separation(np.eye(4), train, [2, 3], groups=groups)
