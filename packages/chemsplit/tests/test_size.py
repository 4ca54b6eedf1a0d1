import numpy as np
import pytest
from scipy.sparse import csr_matrix

from chemsplit import SizeSplit


@pytest.fixture
def n_atoms(rng):
    return rng.integers(20, 60, size=200)


def parts(splitter, X, groups=None):
    ((train, test),) = splitter.split(X, groups=groups)
    return train, test


@pytest.mark.parametrize("form", [np.asarray, lambda n: n[:, None], np.ndarray.tolist])
def test_training_structures_have_at_most_so_many_atoms(n_atoms, form):
    train, test = parts(SizeSplit(max_train=35), form(n_atoms))
    np.testing.assert_array_equal(train, np.flatnonzero(n_atoms <= 35))
    np.testing.assert_array_equal(test, np.flatnonzero(n_atoms > 35))


def test_structures_of_equal_size_are_on_one_side_of_the_nearest_cut(n_atoms):
    for share in (0.1, 0.35, 0.5):
        train, test = parts(SizeSplit(test_size=share), n_atoms)
        assert n_atoms[train].max() < n_atoms[test].min()
        missed = abs(len(test) - share * 200)
        cuts = [abs((n_atoms > size).sum() - share * 200) for size in range(20, 60)]
        assert missed <= min(cuts) + 1


def test_a_group_goes_by_its_largest_structure():
    n_atoms = np.array([10, 90, 20, 30, 95, 40])
    groups = np.array(["a", "a", "b", "b", "c", "d"])
    train, test = parts(SizeSplit(max_train=50), n_atoms, groups)
    assert (train.tolist(), test.tolist()) == ([2, 3, 5], [0, 1, 4])


def test_the_size_may_be_one_column_of_many(n_atoms, rng):
    X = np.column_stack([rng.normal(size=(200, 4)), n_atoms])
    expected = parts(SizeSplit(max_train=35), n_atoms)
    for form in (X, csr_matrix(X)):
        found = parts(SizeSplit(max_train=35, column=4), form)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_share_that_no_cut_gives_is_reported():
    with pytest.warns(UserWarning, match="Whole sizes gave a test share of 20% where"):
        parts(SizeSplit(test_size=0.5), [10] * 80 + [20] * 20)


@pytest.mark.parametrize(
    ("options", "X", "sentence"),
    [
        ({}, np.ones((9, 2)), "got 2 columns; say which it is with `column`"),
        ({}, [5.0, 0.0, 3.0], "must be positive"),
        ({}, [5.0, np.nan], "must be positive"),
        ({}, [7, 7, 7], "All structures or groups have 7 atoms: nothing to split"),
        ({"max_train": 5}, [7, 8], "7 to 8 atoms, so max_train=5 leaves one part"),
        ({"max_train": 8}, [7, 8], "7 to 8 atoms, so max_train=8 leaves one part"),
        ({"max_train": 7, "test_size": 0.5}, [7, 8], "not both"),
    ],
)
def test_what_cannot_be_done_is_refused(options, X, sentence):
    with pytest.raises(ValueError, match=sentence):
        parts(SizeSplit(**options), X)
