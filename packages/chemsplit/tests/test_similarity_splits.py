"""Each splitter compared with the loop or exhaustive search that defines it."""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from chemsplit import MaxMinSplit, SeedSimilaritySplit, SeparatedSplit
from chemsplit._max_min_split import farthest_points
from chemsplit._separated_split import prim_order
from chemsplit._unit_vectors import UnitVectors


def cosines(X):
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    rows = X / np.where(norms == 0, 1e-10, norms)
    return rows @ rows.T


def published_loop(similarity, train_ratio, seed):
    """Published "maximal separation": the list of training samples never grows."""
    rng = np.random.RandomState(seed)
    n = len(similarity)
    training = [rng.choice(n)]
    remaining = [i for i in range(n) if i not in training]
    test = []
    while len(test) < n - int(n * train_ratio):
        nearest = similarity[remaining][:, training].max(axis=1)
        least = remaining[np.argmin(nearest)]
        test.append(least)
        remaining.remove(least)
    return sorted(remaining + training), sorted(test)


def published_subset_loop(X, train_ratio, seed, n_candidates):
    """Its variant for large data sets: the least similar of random n_candidates."""
    rng = np.random.default_rng(seed)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    first = int(rng.integers(0, len(X)))
    remaining = np.setdiff1d(np.arange(len(X)), [first])
    test = []
    while len(test) < len(X) - int(len(X) * train_ratio):
        drawn = remaining
        if len(remaining) > n_candidates:
            drawn = rng.choice(remaining, size=n_candidates, replace=False)
        least = drawn[np.argmin(rows[drawn] @ rows[first])]
        test.append(int(least))
        remaining = remaining[remaining != least]
    return sorted([*remaining.tolist(), first]), sorted(test)


@pytest.fixture
def X(rng):
    """Rows of random lengths with duplicates, more rows than in one block."""
    X = rng.normal(size=(700, 12)) * rng.uniform(0.1, 5, size=(700, 1))
    X[40:60] += 3 * X[10]
    X[77] = X[78]
    return X


def split_indices(splitter, X, groups=None):
    ((train, test),) = splitter.split(X, groups=groups)
    return sorted(train.tolist()), sorted(test.tolist())


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
@pytest.mark.parametrize("ratio", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(5))
def test_the_split_equals_that_of_the_published_loop(X, seed, ratio, form):
    X = X[:151]
    split = SeedSimilaritySplit(train_size=ratio, random_state=seed)
    assert split_indices(split, form(X)) == published_loop(cosines(X), ratio, seed)


@pytest.mark.parametrize("n_candidates", [1, 10, 60, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_candidates_equal_the_published_ones(X, seed, n_candidates):
    X = X[:151]
    split = SeedSimilaritySplit(
        n_candidates=n_candidates, train_size=0.5, random_state=seed
    )
    assert split_indices(split, X) == published_subset_loop(X, 0.5, seed, n_candidates)


def test_a_row_of_zeros_has_similarity_zero(X):
    X = np.abs(X[:40])
    X[7] = 0
    for seed in range(3):
        split = SeedSimilaritySplit(train_size=0.5, random_state=seed)
        assert split_indices(split, X) == published_loop(cosines(X), 0.5, seed)
        assert (
            7 in split_indices(split, X)[1]
            or np.random.RandomState(seed).choice(40) == 7
        )


def max_min_loop(similarity, first, n_picks):
    picks = [first]
    while len(picks) < n_picks:
        remaining = np.setdiff1d(np.arange(len(similarity)), picks)
        nearest = similarity[np.ix_(remaining, picks)].max(axis=1)
        picks.append(int(remaining[np.argmin(nearest)]))
    return picks


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
@pytest.mark.parametrize("block", [1, 8, 512])
def test_picks_equal_those_of_the_max_min_loop(X, block, form, monkeypatch):
    monkeypatch.setattr("chemsplit._max_min_split._BLOCK", block)
    picks = farthest_points(UnitVectors(form(X)), 5)
    loop = max_min_loop(cosines(X), 5, 300)
    # Rows are compared because rounding decides which of two duplicates is first.
    np.testing.assert_array_equal(X[[next(picks) for _ in range(300)]], X[loop])


def test_every_row_is_picked_once(X):
    assert sorted(farthest_points(UnitVectors(X), 699)) == list(range(700))


def test_the_picks_are_the_test_set_or_the_training_set(X):
    X = X[:90]
    first = np.random.RandomState(4).randint(90)
    loop = max_min_loop(cosines(X), first, 31)
    split = MaxMinSplit(test_size=30, random_state=4)
    assert split_indices(split, X)[1] == sorted(loop[1:])
    split = MaxMinSplit(picked="train", train_size=31, random_state=4)
    assert split_indices(split, X)[0] == sorted(loop)


def test_the_covering_radius_is_at_most_twice_the_optimum(rng):
    X = np.abs(rng.normal(size=(14, 3)))
    angle = np.arccos(np.clip(cosines(X), -1, 1))
    best = min(angle[:, list(k)].min(1).max() for k in combinations(range(14), 4))
    for first in range(14):
        picks = farthest_points(UnitVectors(X), first)
        chosen = [next(picks) for _ in range(4)]
        assert angle[:, chosen].min(1).max() <= 2 * best + 1e-9  # Gonzalez 1985


@pytest.mark.parametrize(("n_test", "shift"), [(6, 0.0), (4, 0.0), (6, 1.5)])
def test_the_mean_similarity_equals_the_exhaustive_minimum(rng, n_test, shift):
    X = rng.normal(size=(12, 3)) + shift
    similarity = cosines(X)

    def mean_similarity(test):
        train = np.setdiff1d(np.arange(12), test)
        return similarity[np.ix_(test, train)].mean()

    best = min(mean_similarity(list(test)) for test in combinations(range(12), n_test))
    split = SeparatedSplit(test_size=n_test, n_init=50, random_state=0)
    assert mean_similarity(split_indices(split, X)[1]) == pytest.approx(best, abs=1e-12)


def test_prim_order_has_the_edge_lengths_of_the_minimum_spanning_tree(X):
    X = X[:60]
    distance = 1 - cosines(X)
    tree = minimum_spanning_tree(np.maximum(distance, 0)).data
    order = list(prim_order(UnitVectors(X), 3))
    assert sorted(order) == list(range(60))
    lengths = [distance[i, order[:k]].min() for k, i in enumerate(order) if k]
    np.testing.assert_allclose(np.sort(lengths), np.sort(tree), atol=1e-8)


def test_test_samples_have_no_close_neighbor_in_the_training_set(blobs):
    X, member = blobs
    ((train, test),) = SeparatedSplit(
        criterion="nearest", test_size=0.5, random_state=0
    ).split(X)
    assert not set(member[train]) & set(member[test])


def test_groups_are_compared_by_their_mean_descriptors(rng):
    X, groups = rng.normal(size=(60, 5)), rng.permutation(np.repeat(np.arange(20), 3))
    means = np.stack([X[groups == g].mean(axis=0) for g in range(20)])
    for splitter in (SeedSimilaritySplit, MaxMinSplit, SeparatedSplit):
        split = splitter(test_size=0.4, random_state=1)
        _, test_groups = split_indices(split, means)
        _, test = split_indices(split, X, groups)
        assert sorted(set(groups[test])) == test_groups


@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        (
            SeedSimilaritySplit(n_candidates=0),
            "`n_candidates` must be a positive number",
        ),
        (MaxMinSplit(picked="both"), '`picked` must be "test" or "train"'),
        (SeparatedSplit(criterion="max"), '`criterion` must be "mean" or "nearest"'),
        (SeparatedSplit(n_init=0), "`n_init` must be a positive number, got 0"),
    ],
)
def test_invalid_options_are_rejected(X, splitter, message):
    with pytest.raises(ValueError, match=message):
        next(splitter.split(X))
