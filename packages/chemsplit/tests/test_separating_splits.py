"""Each splitter against the loop or the search that defines it."""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from chemsplit import MaxSeparationSplit, SeedSimilaritySplit, SeparatedSplit
from chemsplit._directions import Directions
from chemsplit._max_separation import farthest_points
from chemsplit._separated import nearest_first


def cosines(X):
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    rows = X / np.where(norms == 0, 1e-10, norms)
    return rows @ rows.T


def published_loop(similarity, train_ratio, seed):
    """Maximal separation as published: over all pairs, the training list fixed."""
    draws = np.random.RandomState(seed)
    n = len(similarity)
    training = [draws.choice(n)]
    left = [i for i in range(n) if i not in training]
    test = []
    while len(test) < n - int(n * train_ratio):
        nearest = similarity[left][:, training].max(axis=1)
        least = left[np.argmin(nearest)]
        test.append(least)
        left.remove(least)
    return sorted(left + training), sorted(test)


def published_subset_loop(X, train_ratio, seed, candidates):
    """Its variant for large sets: the least similar of a few drawn from those left."""
    draws = np.random.default_rng(seed)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    first = int(draws.integers(0, len(X)))
    left = np.setdiff1d(np.arange(len(X)), [first])
    test = []
    while len(test) < len(X) - int(len(X) * train_ratio):
        few = left
        if len(left) > candidates:
            few = draws.choice(left, size=candidates, replace=False)
        least = few[np.argmin(rows[few] @ rows[first])]
        test.append(int(least))
        left = left[left != least]
    return sorted([*left.tolist(), first]), sorted(test)


@pytest.fixture
def X(rng):
    """Random lengths, duplicates, and more rows than one block brings up to date."""
    X = rng.normal(size=(700, 12)) * rng.uniform(0.1, 5, size=(700, 1))
    X[40:60] += 3 * X[10]
    X[77] = X[78]
    return X


def parts(splitter, X, groups=None):
    ((train, test),) = splitter.split(X, groups=groups)
    return sorted(train.tolist()), sorted(test.tolist())


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
@pytest.mark.parametrize("ratio", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(5))
def test_one_sort_is_the_published_loop(X, seed, ratio, form):
    X = X[:151]
    split = SeedSimilaritySplit(train_size=ratio, random_state=seed)
    assert parts(split, form(X)) == published_loop(cosines(X), ratio, seed)


@pytest.mark.parametrize("candidates", [1, 10, 60, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_the_candidates_are_the_published_ones(X, seed, candidates):
    X = X[:151]
    split = SeedSimilaritySplit(
        candidates=candidates, train_size=0.5, random_state=seed
    )
    assert parts(split, X) == published_subset_loop(X, 0.5, seed, candidates)


def test_a_row_of_zeros_is_similar_to_nothing(X):
    X = np.abs(X[:40])
    X[7] = 0
    for seed in range(3):
        split = SeedSimilaritySplit(train_size=0.5, random_state=seed)
        assert parts(split, X) == published_loop(cosines(X), 0.5, seed)
        assert 7 in parts(split, X)[1] or np.random.RandomState(seed).choice(40) == 7


def max_min_loop(similarity, first, n_picks):
    picks = [first]
    while len(picks) < n_picks:
        left = np.setdiff1d(np.arange(len(similarity)), picks)
        picks.append(int(left[np.argmin(similarity[np.ix_(left, picks)].max(axis=1))]))
    return picks


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
@pytest.mark.parametrize("block", [1, 8, 512])
def test_the_picks_are_those_of_the_max_min_loop(X, block, form, monkeypatch):
    monkeypatch.setattr("chemsplit._max_separation._BLOCK", block)
    picks = farthest_points(Directions(form(X)), 5)
    loop = max_min_loop(cosines(X), 5, 300)
    # rows, not numbers: which of two duplicates comes first is a matter of rounding
    np.testing.assert_array_equal(X[[next(picks) for _ in range(300)]], X[loop])


def test_the_picks_end_with_every_row_once(X):
    assert sorted(farthest_points(Directions(X), 699)) == list(range(700))


def test_max_separation_tests_on_the_picks_or_trains_on_them(X):
    X = X[:90]
    first = np.random.RandomState(4).randint(90)
    loop = max_min_loop(cosines(X), first, 31)
    split = MaxSeparationSplit(test_size=30, random_state=4)
    assert parts(split, X)[1] == sorted(loop[1:])
    split = MaxSeparationSplit(picked="train", train_size=31, random_state=4)
    assert parts(split, X)[0] == sorted(loop)


def test_picks_cover_the_space_within_twice_the_best_radius(rng):
    X = np.abs(rng.normal(size=(14, 3)))
    angle = np.arccos(np.clip(cosines(X), -1, 1))
    best = min(angle[:, list(k)].min(1).max() for k in combinations(range(14), 4))
    for first in range(14):
        picks = farthest_points(Directions(X), first)
        chosen = [next(picks) for _ in range(4)]
        assert angle[:, chosen].min(1).max() <= 2 * best + 1e-9  # Gonzalez 1985


@pytest.mark.parametrize(("n_test", "shift"), [(6, 0.0), (4, 0.0), (6, 1.5)])
def test_the_mean_similarity_across_the_cut_is_the_smallest_of_all(rng, n_test, shift):
    X = rng.normal(size=(12, 3)) + shift
    similarity = cosines(X)

    def across(test):
        train = np.setdiff1d(np.arange(12), test)
        return similarity[np.ix_(test, train)].mean()

    best = min(across(list(test)) for test in combinations(range(12), n_test))
    split = SeparatedSplit(test_size=n_test, n_starts=50, random_state=0)
    assert across(parts(split, X)[1]) == pytest.approx(best, abs=1e-12)


def test_prims_order_has_the_edges_of_the_minimum_spanning_tree(X):
    X = X[:60]
    distance = 1 - cosines(X)
    tree = minimum_spanning_tree(np.maximum(distance, 0)).data
    order = list(nearest_first(Directions(X), 3))
    assert sorted(order) == list(range(60))
    steps = [distance[i, order[:k]].min() for k, i in enumerate(order) if k]
    np.testing.assert_allclose(np.sort(steps), np.sort(tree), atol=1e-8)


def test_what_tests_has_no_close_neighbour_in_training(blobs):
    X, member = blobs
    ((train, test),) = SeparatedSplit(
        criterion="nearest", test_size=0.5, random_state=0
    ).split(X)
    assert not set(member[train]) & set(member[test])


def test_a_group_counts_with_the_mean_of_its_samples(rng):
    X, groups = rng.normal(size=(60, 5)), rng.permutation(np.repeat(np.arange(20), 3))
    means = np.stack([X[groups == g].mean(axis=0) for g in range(20)])
    for make in (SeedSimilaritySplit, MaxSeparationSplit, SeparatedSplit):
        split = make(test_size=0.4, random_state=1)
        _, of_groups = parts(split, means)
        _, test = parts(split, X, groups)
        assert sorted(set(groups[test])) == of_groups


@pytest.mark.parametrize(
    ("splitter", "sentence"),
    [
        (SeedSimilaritySplit(candidates=0), "`candidates` must be a positive number"),
        (MaxSeparationSplit(picked="both"), '`picked` must be "test" or "train"'),
        (SeparatedSplit(criterion="max"), '`criterion` must be "mean" or "nearest"'),
        (SeparatedSplit(n_starts=0), "`n_starts` must be a positive number, got 0"),
    ],
)
def test_unknown_choices_are_refused(X, splitter, sentence):
    with pytest.raises(ValueError, match=sentence):
        next(splitter.split(X))
