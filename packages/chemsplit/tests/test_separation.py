import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import ShuffleSplit

from chemsplit import ClusterSplit, separation


def parts(splitter, X):
    return next(splitter.split(X))


def test_a_cluster_split_separates_and_a_random_one_does_not(blobs):
    X, _ = blobs
    cluster = separation(
        X, *parts(ClusterSplit(n_clusters=12, test_size=0.5, random_state=0), X)
    )
    random = separation(X, *parts(ShuffleSplit(test_size=0.5, random_state=0), X))
    assert cluster.familiar == 0
    assert 0.35 < random.familiar < 0.65
    assert cluster.across.high < random.across.low
    assert "is separated: 0%" in str(cluster)
    assert "is not separated" in str(random)
    assert str(random).count("\n") == 0


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_the_numbers_are_those_of_all_pairs(rng, form, monkeypatch):
    monkeypatch.setattr("chemsplit._separation._CHUNK_MIB", 0.01)  # many chunks
    X = rng.normal(size=(150, 6))
    train, test = np.arange(90), np.arange(90, 150)
    got = separation(form(X), train, test)
    pairs = cosine_similarity(X)
    across = pairs[np.ix_(test, train)].max(1)
    within = (pairs - 9 * np.eye(150))[np.ix_(train, train)].max(1)
    assert got.across.mean == pytest.approx(across.mean())
    assert got.across.low == pytest.approx(np.quantile(across, 0.05))
    assert got.within.median == pytest.approx(np.median(within))
    assert got.within.high == pytest.approx(np.quantile(within, 0.95))
    assert got.familiar == (across >= np.median(within)).mean()


def test_wide_sparse_rows_are_the_same_as_dense_ones(wide):
    train, test = np.arange(40), np.arange(40, 60)
    sparse, dense = (
        separation(X, train, test) for X in (wide, wide.toarray().astype(float))
    )
    assert sparse.across.median == pytest.approx(dense.across.median, rel=1e-6)
    pairs = cosine_similarity(wide.toarray()[test], wide.toarray()[train])
    assert dense.across.median == pytest.approx(np.median(pairs.max(1)), rel=1e-5)


def test_neighbours_of_the_same_group_do_not_count_within(rng):
    X = np.repeat(rng.normal(size=(20, 5)), 2, axis=0)  # every row twice
    groups = np.repeat(np.arange(20), 2)
    train, test = np.arange(30), np.arange(30, 40)
    assert separation(X, train, test).within.median == pytest.approx(1)
    assert separation(X, train, test, groups=groups).within.median < 0.999
    leaky = separation(X, train[::2], train[1::2], groups=groups)
    assert leaky.across.median == pytest.approx(1)
    assert leaky.familiar == 1


@pytest.mark.parametrize(
    ("train", "groups", "sentence"),
    [
        ([], None, "Both parts need structures, got 0 for training and 2"),
        ([0], None, "nothing to compare"),
        ([0, 1], [0, 0, 1, 1], "nothing to compare"),
    ],
)
def test_parts_too_small_to_compare_are_refused(train, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        separation(np.eye(4), train, [2, 3], groups=groups)
