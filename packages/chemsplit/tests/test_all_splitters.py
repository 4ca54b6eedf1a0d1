"""Tests of all splitters: scikit-learn's API, seeds, groups and set sizes."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, check_cv, cross_val_score

from chemsplit import (
    ClusterSplit,
    MaxMinSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
    make_split,
)

SPLITTERS = {
    "size": lambda **options: SizeSplit(column=0, **options),
    "cluster": lambda **options: ClusterSplit(n_clusters=12, **options),
    "seed-similarity": SeedSimilaritySplit,
    "seed-similarity, candidates": lambda **options: SeedSimilaritySplit(
        n_candidates=9, **options
    ),
    "max-min, test": MaxMinSplit,
    "max-min, train": lambda **options: MaxMinSplit(picked="train", **options),
    "separated, mean": SeparatedSplit,
    "separated, nearest": lambda **options: SeparatedSplit(
        criterion="nearest", **options
    ),
}
SEEDED = {name: SPLITTERS[name] for name in SPLITTERS if name != "size"}
# Splitters whose test set has exactly the requested size.
EXACT = {name: SEEDED[name] for name in SEEDED if name != "cluster"}
all_splitters = pytest.mark.parametrize("make", SPLITTERS.values(), ids=SPLITTERS)
seeded = pytest.mark.parametrize("make", SEEDED.values(), ids=SEEDED)
exact = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)


@pytest.fixture
def X(blobs, rng):
    """RaggedRows in blobs; the first column could be a number of atoms."""
    return np.column_stack([rng.integers(3, 40, size=120), blobs[0]])


@pytest.fixture
def y(rng):
    return rng.normal(size=120)


@all_splitters
def test_sets_are_disjoint_and_exhaustive(make, X, y):
    splitter = make(test_size=0.3)
    splits = list(splitter.split(X, y))
    assert len(splits) == splitter.get_n_splits(X, y) == 1
    for train, test in splits:
        for rows in (train, test):
            assert isinstance(rows, np.ndarray)
            assert rows.dtype.kind == "i"
        assert not set(train) & set(test)
        assert set(train) | set(test) == set(range(120))
        assert len(train) + len(test) == 120


# ShuffleSplit rounds the number of test samples up and of training samples down.
@pytest.mark.parametrize(
    ("sizes", "n_test"),
    [
        ({}, 12),
        ({"test_size": 0.301}, 37),
        ({"test_size": 7}, 7),
        ({"train_size": 0.301}, 84),
        ({"train_size": 7}, 113),
        ({"train_size": 0.3, "test_size": 0.7}, 84),
        ({"test_size": 1}, 1),
        ({"train_size": 1}, 119),
    ],
)
@exact
def test_sizes_follow_scikit_learns_rules(make, X, sizes, n_test):
    ((train, test),) = make(random_state=0, **sizes).split(X)
    assert (len(train), len(test)) == (120 - n_test, n_test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_size": 2.0}, "test_size=2.0"),
        ({"test_size": 1.0}, "test_size=1.0"),
        ({"test_size": 121}, "test_size=121"),
        (
            {"test_size": 0.6, "train_size": 0.6},
            "test_size=0.6, train_size=0.6: each needs at least one",
        ),
        ({"train_size": 1e-3}, "train_size=0.001: each needs at least one"),
        ({"train_size": 0.3, "test_size": 0.3}, "leave some unused"),
    ],
)
@all_splitters
def test_impossible_sizes_are_rejected(make, X, options, message):
    with pytest.raises(ValueError, match=message):
        next(make(**options).split(X))


@seeded
def test_an_integer_seed_gives_the_same_splits_again(make, X):
    splitter = make(n_splits=3, test_size=0.4, random_state=21)
    assert splitter.get_n_splits() == 3
    once, again = ([test for _, test in splitter.split(X)] for _ in range(2))
    for test, repeated in zip(once, again, strict=True):
        np.testing.assert_array_equal(test, repeated)


@seeded
def test_a_random_state_is_advanced(make, X):
    rngs = np.random.RandomState(3), np.random.RandomState(3)
    first, again = (make(test_size=0.4, random_state=rng) for rng in rngs)
    np.testing.assert_array_equal(next(first.split(X))[1], next(again.split(X))[1])
    assert rngs[0].randint(10**9) == rngs[1].randint(10**9)
    assert rngs[0].randint(10**9) != np.random.RandomState(3).randint(10**9)
    assert len(next(make(test_size=0.4, random_state=None).split(X))[1]) > 0


@all_splitters
def test_sparse_float32_and_list_input_give_the_same_split(make, X):
    seed = {} if make is SPLITTERS["size"] else {"random_state": 2}
    splitter = make(test_size=0.4, **seed)
    _, test = next(splitter.split(X))
    for form in (csr_matrix(X), X.astype(np.float32), X.tolist()):
        np.testing.assert_array_equal(next(splitter.split(form))[1], test)


@all_splitters
def test_each_group_is_in_one_set(make, X, rng):
    groups = rng.permutation(np.repeat([f"g{i}" for i in range(30)], 4))
    for fraction in (0.2, 0.5):
        ((train, test),) = make(test_size=fraction).split(X, groups=groups)
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == 120
        if make is not SPLITTERS["cluster"]:  # clusters are larger
            tolerance = 12 if make is SPLITTERS["size"] else 2
            assert abs(len(test) - 120 * fraction) <= tolerance


@all_splitters
def test_works_with_scikit_learn(make, X, y):
    splitter = make(test_size=0.25)
    assert check_cv(splitter) is splitter
    assert clone(splitter, safe=False).__dict__ == splitter.__dict__
    assert splitter.get_metadata_routing().split.requests == {"groups": True}
    groups = np.arange(120) // 2
    scores = cross_val_score(DummyRegressor(), X, y, groups=groups, cv=splitter)
    assert scores.shape == (1,)
    search = GridSearchCV(
        DummyRegressor(), {"strategy": ["mean", "median"]}, cv=splitter
    )
    assert search.fit(X, y).n_splits_ == 1


@all_splitters
def test_the_constructor_stores_its_arguments(make):
    splitter = make(test_size=0.25)
    stored = splitter.__dict__
    text = repr(splitter)
    assert text.startswith(type(splitter).__name__ + "(")
    for name in set(stored) - {"_default_test_size"}:
        assert f"{name}={stored[name]!r}" in text
    assert stored["test_size"] == 0.25


@all_splitters
def test_the_split_does_not_depend_on_the_order_of_the_data(make, X, ids, rng):
    groups = np.array([f"material {int(i[4:]) // 4}" for i in ids])
    splitter = make(test_size=0.4)
    split = make_split(splitter, X, ids, groups, seed=5, name="any")
    order = rng.permutation(120)
    shuffled = [ids[i] for i in order]
    for form in (np.asarray, csr_matrix):
        again = make_split(
            splitter, form(X[order]), shuffled, groups[order], seed=5, name="any"
        )
        assert again == split
    train_groups, test_groups = (
        {groups[ids.index(id)] for id in set_ids}
        for set_ids in (split.train, split.test)
    )
    assert not train_groups & test_groups


@all_splitters
def test_an_empty_data_set_or_a_single_structure_is_rejected(make):
    for count, message in (
        (0, "`X` is empty|0 sample"),
        (1, "split|number of samples"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            next(make(test_size=0.5).split(np.ones((count, 3))))
        assert "\n" not in str(raised.value)


@seeded
def test_descriptors_with_nan_are_rejected(make, X):
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        next(make().split(X))


@exact
def test_a_single_group_is_rejected(make, X):
    with pytest.raises(ValueError, match="a single group: nothing to split"):
        next(make().split(X, groups=np.zeros(120)))


@exact
def test_a_test_fraction_far_from_the_requested_one_is_reported(make, X):
    groups = np.repeat([0, 1], [90, 30])
    with pytest.warns(UserWarning, match=r"test fraction is (25|75)% instead of 50%"):
        next(make(test_size=0.5).split(X, groups=groups))
