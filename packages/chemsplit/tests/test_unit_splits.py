"""What holds for every splitter of the package, as for scikit-learn's own."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, check_cv, cross_val_score

from chemsplit import (
    ClusterSplit,
    MaxSeparationSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
    make_split,
)

SPLITTERS = {
    "size": lambda **options: SizeSplit(column=0, **options),
    "cluster": lambda **options: ClusterSplit(n_clusters=12, **options),
    "seed": SeedSimilaritySplit,
    "candidates": lambda **options: SeedSimilaritySplit(candidates=9, **options),
    "farthest test": MaxSeparationSplit,
    "farthest train": lambda **options: MaxSeparationSplit(picked="train", **options),
    "mean": SeparatedSplit,
    "nearest": lambda **options: SeparatedSplit(criterion="nearest", **options),
}
SEEDED = {name: SPLITTERS[name] for name in SPLITTERS if name != "size"}
# Those whose test part has the very size that was asked for.
EXACT = {name: SEEDED[name] for name in SEEDED if name != "cluster"}
every = pytest.mark.parametrize("make", SPLITTERS.values(), ids=SPLITTERS)
seeded = pytest.mark.parametrize("make", SEEDED.values(), ids=SEEDED)
exact = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)


@pytest.fixture
def X(blobs, rng):
    """Rows in blobs; the first column could be a number of atoms."""
    return np.column_stack([rng.integers(3, 40, size=120), blobs[0]])


@pytest.fixture
def y(rng):
    return rng.normal(size=120)


@every
def test_parts_are_valid(make, X, y):
    splitter = make(test_size=0.3)
    splits = list(splitter.split(X, y))
    assert len(splits) == splitter.get_n_splits(X, y) == 1
    for train, test in splits:
        for part in (train, test):
            assert isinstance(part, np.ndarray)
            assert part.dtype.kind == "i"
        assert not set(train) & set(test)
        assert set(train) | set(test) == set(range(120))
        assert len(train) + len(test) == 120


# ShuffleSplit's rules: the test share is rounded up, the training share down.
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
    ("options", "sentence"),
    [
        ({"test_size": 2.0}, "test_size=2.0"),
        ({"test_size": 1.0}, "test_size=1.0"),
        ({"test_size": 121}, "test_size=121"),
        (
            {"test_size": 0.6, "train_size": 0.6},
            "test_size=0.6, train_size=0.6: each needs at least one",
        ),
        ({"train_size": 1e-3}, "train_size=0.001: each needs at least one"),
        ({"train_size": 0.3, "test_size": 0.3}, "leave some over"),
    ],
)
@every
def test_impossible_sizes_are_refused(make, X, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        next(make(**options).split(X))


@seeded
def test_an_integer_seed_gives_the_same_splits_again(make, X):
    splitter = make(n_splits=3, test_size=0.4, random_state=21)
    assert splitter.get_n_splits() == 3
    once, again = ([test for _, test in splitter.split(X)] for _ in range(2))
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, two)


@seeded
def test_a_random_state_is_drawn_from(make, X):
    one, two = np.random.RandomState(3), np.random.RandomState(3)
    first, again = (make(test_size=0.4, random_state=r) for r in (one, two))
    np.testing.assert_array_equal(next(first.split(X))[1], next(again.split(X))[1])
    assert one.randint(10**9) == two.randint(10**9)
    assert one.randint(10**9) != np.random.RandomState(3).randint(10**9)
    assert len(next(make(test_size=0.4, random_state=None).split(X))[1]) > 0


@every
def test_sparse_single_precision_and_lists_are_the_same(make, X):
    seed = {} if make is SPLITTERS["size"] else {"random_state": 2}
    splitter = make(test_size=0.4, **seed)
    _, test = next(splitter.split(X))
    for form in (csr_matrix(X), X.astype(np.float32), X.tolist()):
        np.testing.assert_array_equal(next(splitter.split(form))[1], test)


@every
def test_no_group_straddles_the_cut(make, X, rng):
    groups = rng.permutation(np.repeat([f"g{i}" for i in range(30)], 4))
    for share in (0.2, 0.5):
        ((train, test),) = make(test_size=share).split(X, groups=groups)
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == 120
        if make is not SPLITTERS["cluster"]:  # whole clusters are coarser
            slack = 12 if make is SPLITTERS["size"] else 2
            assert abs(len(test) - 120 * share) <= slack


@every
def test_it_goes_where_scikit_learns_splitters_go(make, X, y):
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


@every
def test_the_constructor_stores_what_it_is_given(make):
    splitter = make(test_size=0.25)
    stored = splitter.__dict__
    text = repr(splitter)
    assert text.startswith(type(splitter).__name__ + "(")
    for name in set(stored) - {"_default_test_size"}:
        assert f"{name}={stored[name]!r}" in text
    assert stored["test_size"] == 0.25


@every
def test_the_order_of_a_file_is_irrelevant(make, X, ids, rng):
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
    parts = [{groups[ids.index(i)] for i in p} for p in (split.train, split.test)]
    assert not parts[0] & parts[1]


@every
def test_an_empty_set_or_a_single_structure_cannot_be_split(make):
    for count, sentence in (
        (0, "`X` is empty|0 sample"),
        (1, "split|number of samples"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            next(make(test_size=0.5).split(np.ones((count, 3))))
        assert "\n" not in str(caught.value)


@seeded
def test_descriptors_that_are_not_numbers_are_refused(make, X):
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        next(make().split(X))


@exact
def test_a_single_group_cannot_be_split(make, X):
    with pytest.raises(ValueError, match="a single group: nothing to split"):
        next(make().split(X, groups=np.zeros(120)))


@exact
def test_a_share_that_whole_groups_miss_is_reported(make, X):
    groups = np.repeat([0, 1], [90, 30])
    with pytest.warns(UserWarning, match=r"test share of (25|75)% where 50% was want"):
        next(make(test_size=0.5).split(X, groups=groups))
