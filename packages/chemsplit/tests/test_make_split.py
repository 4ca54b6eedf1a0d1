import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit, PredefinedSplit, ShuffleSplit

from chemsplit import ClusterSplit, make_split

SPLITTERS = [
    ClusterSplit(n_clusters=12, test_size=0.5),
    ShuffleSplit(1, test_size=0.5),
    GroupShuffleSplit(1, test_size=0.5),
]


def groups_for(splitter, ids):
    """Materials of five frames each; None for ShuffleSplit."""
    if isinstance(splitter, ShuffleSplit):
        return None
    return np.array([f"material {int(i[4:]) // 5}" for i in ids])


@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda s: type(s).__name__)
def test_the_split_does_not_depend_on_the_order_of_the_data(blobs, ids, rng, splitter):
    X, _ = blobs
    groups = groups_for(splitter, ids)
    split = make_split(splitter, X, ids, groups, seed=1, name="any")
    order = rng.permutation(120)
    shuffled_groups = None if groups is None else groups[order]
    shuffled = [ids[i] for i in order]
    again = make_split(
        splitter, X[order], shuffled, shuffled_groups, seed=1, name="any"
    )
    assert again == split
    assert make_split(splitter, X, ids, groups, seed=2, name="any") != split
    assert splitter.random_state is None


@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda s: type(s).__name__)
def test_the_sets_are_disjoint_and_exhaustive(blobs, ids, splitter):
    groups = groups_for(splitter, ids)
    split = make_split(splitter, csr_matrix(blobs[0]), ids, groups, seed=3, name="a")
    sets = (split.train, split.validation, split.test)
    assert sorted(id for set_ids in sets for id in set_ids) == ids
    assert abs(len(split.test) - 60) <= 10
    training = len(split.train) + len(split.validation)
    assert abs(len(split.validation) - 0.1 * training) <= 2.5


@pytest.mark.parametrize("splitter", [SPLITTERS[0], SPLITTERS[2]])
def test_each_group_is_in_one_set(blobs, ids, splitter):
    groups = groups_for(splitter, ids)
    for seed in range(5):
        split = make_split(splitter, blobs[0], ids, groups, seed=seed, name="a")
        groups_per_set = [
            {groups[ids.index(id)] for id in set_ids}
            for set_ids in (split.train, split.validation, split.test)
        ]
        n_groups = len(set.union(*groups_per_set))
        assert sum(map(len, groups_per_set)) == n_groups == 24
        assert all(groups_per_set)


def test_the_split_does_not_depend_on_the_names_of_groups(blobs, ids):
    groups = groups_for(SPLITTERS[2], ids)
    names, member = np.unique(groups, return_inverse=True)
    renamed = np.random.default_rng(3).permutation(len(names))[member]
    split, renamed_split = (
        make_split(SPLITTERS[2], None, ids, g, seed=0, name="a")
        for g in (groups, renamed)
    )
    assert split == renamed_split


def test_the_validation_set_has_the_requested_size(ids):
    for fraction, count in ((0.0, 0), (0.1, 6), (0.25, 15)):
        split = make_split(
            SPLITTERS[1],
            None,
            ids,
            validation_fraction=fraction,
            seed=0,
            name="random",
        )
        assert len(split.validation) == count
        assert len(split.train) == 60 - count


def test_the_split_contains_its_settings(ids):
    splitter = ShuffleSplit(test_size=0.2, train_size=0.5)
    split = make_split(
        splitter, None, ids, seed=4, name="random", settings={"r_cut": 4.0}
    )
    assert (split.name, split.seed) == ("random", 4)
    assert split.settings == {
        "r_cut": 4.0,
        "splitter": "ShuffleSplit(n_splits=10, random_state=4, test_size=0.2, "
        "train_size=0.5)",
        "validation_fraction": 0.1,
        "grouped": False,
    }
    assert len(split.unused) == 36


def test_ids_may_be_numbers():
    split = make_split(ShuffleSplit(), None, range(50), seed=0, name="random")
    train, validation, test = split.indices(np.arange(50))
    assert [len(rows) for rows in (train, validation, test)] == [41, 4, 5]


def test_a_splitter_that_divides_groups_is_rejected(ids):
    groups = groups_for(SPLITTERS[2], ids)
    with (
        pytest.warns(UserWarning, match="groups parameter is ignored"),
        pytest.raises(ValueError, match="divides groups"),
    ):
        make_split(SPLITTERS[1], None, ids, groups, seed=0, name="random")


def test_a_splitter_without_a_seed_is_accepted(ids):
    fold = np.arange(120) // 30 - 1  # -1: never in a test set
    split = make_split(PredefinedSplit(fold), None, ids, seed=0, name="by hand")
    assert split.test == tuple(ids[30:60])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": ["a", "b", "a"]}, "Ids must be unique, but 'a' occur more than once"),
        ({"X": np.ones((4, 2))}, "inconsistent numbers of samples"),
        ({"validation_fraction": 1.0}, "at least 0 and below 1, got 1.0"),
        (
            {"splitter": ShuffleSplit(random_state=3)},
            "random_state=3 differs from seed",
        ),
        ({"splitter": ShuffleSplit(train_size=1)}, "leave out the validation set"),
        ({"ids": ["a"]}, "1 sample cannot be split into a training and a test"),
        ({"splitter": ShuffleSplit(test_size=0.99)}, "set with test_size=0.99: each"),
        (
            {"splitter": GroupShuffleSplit(1), "groups": ["g"] * 3},
            "1 group cannot be split into",
        ),
    ],
)
def test_invalid_input_is_a_one_line_error(options, message):
    given = {"splitter": ShuffleSplit(1), "X": None, "ids": ["a", "b", "c"]} | options
    with pytest.raises(ValueError, match=message) as raised:
        make_split(**given, seed=0, name="random")
    assert "\n" not in str(raised.value)


def test_a_group_too_large_for_the_validation_set_is_reported(ids):
    groups = np.r_[np.zeros(60), np.ones(20), np.full(40, 2)].astype(int)
    splitter = GroupShuffleSplit(1, test_size=1)
    with pytest.warns(UserWarning, match="validation fraction is"):
        make_split(splitter, None, ids, groups, seed=0, name="random")
