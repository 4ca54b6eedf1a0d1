import numpy as np
import pytest
from scipy.sparse import csr_matrix

from chemsplit import SizeSplit


@pytest.fixture
def n_atoms(rng):
    return rng.integers(20, 60, size=200)


def split_indices(splitter, X, groups=None):
    ((train, test),) = splitter.split(X, groups=groups)
    return train, test


@pytest.mark.parametrize("form", [np.asarray, lambda n: n[:, None], np.ndarray.tolist])
def test_training_structures_have_at_most_max_train_atoms(n_atoms, form):
    train, test = split_indices(SizeSplit(max_train=35), form(n_atoms))
    np.testing.assert_array_equal(train, np.flatnonzero(n_atoms <= 35))
    np.testing.assert_array_equal(test, np.flatnonzero(n_atoms > 35))


def test_structures_of_equal_size_are_in_one_set(n_atoms):
    for fraction in (0.1, 0.35, 0.5):
        train, test = split_indices(SizeSplit(test_size=fraction), n_atoms)
        assert n_atoms[train].max() < n_atoms[test].min()
        n_test = fraction * 200
        possible = [abs((n_atoms > size).sum() - n_test) for size in range(20, 60)]
        assert abs(len(test) - n_test) <= min(possible) + 1


def test_a_group_is_assigned_by_its_largest_structure():
    n_atoms = np.array([10, 90, 20, 30, 95, 40])
    groups = np.array(["a", "a", "b", "b", "c", "d"])
    train, test = split_indices(SizeSplit(max_train=50), n_atoms, groups)
    assert (train.tolist(), test.tolist()) == ([2, 3, 5], [0, 1, 4])


def test_the_size_may_be_a_column_of_descriptors(n_atoms, rng):
    X = np.column_stack([rng.normal(size=(200, 4)), n_atoms])
    expected = split_indices(SizeSplit(max_train=35), n_atoms)
    for form in (X, csr_matrix(X)):
        result = split_indices(SizeSplit(max_train=35, column=4), form)
        for rows, expected_rows in zip(result, expected, strict=True):
            np.testing.assert_array_equal(rows, expected_rows)


def test_a_test_fraction_far_from_the_requested_one_is_reported():
    with pytest.warns(UserWarning, match="test fraction is 20% instead of 50%"):
        split_indices(SizeSplit(test_size=0.5), [10] * 80 + [20] * 20)


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({}, np.ones((9, 2)), "got 2 columns; select one with `column`"),
        ({}, [5.0, 0.0, 3.0], "must be positive"),
        ({}, [5.0, np.nan], "must be positive"),
        ({}, [7, 7, 7], "All structures or groups have 7 atoms: nothing to split"),
        ({"max_train": 5}, [7, 8], "7 to 8 atoms, so max_train=5 leaves one set"),
        ({"max_train": 8}, [7, 8], "7 to 8 atoms, so max_train=8 leaves one set"),
        ({"max_train": 7, "test_size": 0.5}, [7, 8], "not both"),
    ],
)
def test_invalid_options_are_rejected(options, X, message):
    with pytest.raises(ValueError, match=message):
        split_indices(SizeSplit(**options), X)
