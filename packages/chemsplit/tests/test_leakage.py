import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from chemsplit import (
    ClusterSplit,
    compositions,
    element_labels,
    leakage,
    make_split,
    separation,
)

WATER, METHANE, SALT = [8, 1, 1], [6, 1, 1, 1, 1], [11, 17]


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(6, 8))


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, np.float32])
def test_duplicates_are_named_and_only_those(vectors, form):
    X = np.concatenate([vectors, vectors[:3]])
    X[7] *= 1.5  # same direction, another structure
    X[8] += 1e-5  # a duplicate up to rounding
    found = leakage(form(X), range(6), [6, 7, 8], ids=list("abcdefghi"))
    assert found.duplicates == (("g", "a"), ("i", "c"))
    assert "2 of 3 test structures (67%) are duplicates" in found.verdict
    assert "duplicates across the cut               2: g = a, i = c" in str(found)


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, np.float32])
def test_a_duplicate_is_found_among_rows_of_the_same_direction(vectors, form):
    one, *others = vectors
    X = np.stack([1.5 * one, 0.5 * one, one, *others[:3], one, 2 * one])
    found = leakage(form(X), range(6), [6, 7], ids=list("abcdefgh"))
    assert found.duplicates == (("g", "c"),)


def test_the_tolerance_is_a_share_of_the_length(vectors):
    across = np.cross(vectors[0, :3], vectors[1, :3])
    across *= np.linalg.norm(vectors[0, :3]) / np.linalg.norm(across)
    X = np.stack([vectors[0, :3], vectors[1, :3], vectors[0, :3] + 0.01 * across])
    for tolerance, n_found in ((0.0099, 0), (0.0101, 1)):
        found = leakage(X, [0, 1], [2], tolerance=tolerance)
        assert len(found.duplicates) == n_found


def test_shared_groups_are_named(vectors):
    groups = np.array(["p", "p", "q", "q", "r", "s"])
    found = leakage(vectors, [0, 2, 4], [1, 3, 5], groups=groups)
    assert found.groups.labels == ("p", "q")
    assert found.groups.n_test == 2
    assert "2 of 3 test structures (67%) share a group" in found.verdict
    kept = leakage(vectors, [0, 1, 4], [2, 3, 5], groups=groups)
    assert kept.groups.labels == ()
    assert kept.verdict.startswith("No leak was found.")


def test_elements_compositions_and_sizes_are_compared(vectors):
    numbers = [WATER, METHANE, METHANE, WATER * 2, SALT, SALT * 3]
    found = leakage(vectors, [0, 1, 2], [3, 4, 5], numbers=numbers)
    assert found.compositions.labels == ("H2O",)
    assert found.compositions.n_test == 1
    assert found.new_elements == {"Na": 2, "Cl": 2}
    assert (found.train_sizes.smallest, found.train_sizes.largest) == (3, 5)
    assert (found.test_sizes.median, found.test_sizes.largest) == (6, 6)
    assert "No training structure holds Na (in 2), Cl (in 2)" in found.verdict
    reverse = leakage(vectors, [3, 4, 5], [0, 1], numbers=numbers)
    assert reverse.new_elements == {"C": 1}


def test_larger_structures_are_pointed_out(vectors):
    numbers = [WATER, WATER, METHANE, METHANE * 2, WATER * 3, METHANE * 3]
    found = leakage(vectors, [0, 1, 2], [3, 4, 5], numbers=numbers)
    assert "Every test structure is larger than all of training" in found.verdict
    found = leakage(vectors, [0, 1, 2, 3], [4, 5], numbers=[*numbers[:5], WATER * 6])
    assert "Every test structure is larger" not in found.verdict
    assert "well beyond training in size" in found.verdict


def test_what_was_not_given_is_not_claimed(vectors):
    found = leakage(vectors, [0, 1, 2], [3, 4, 5])
    assert found.groups is found.compositions is found.new_elements is None
    assert "groups were not given" in found.verdict
    assert str(found).count("not checked") == 2
    assert "elements only" not in str(found)


def test_a_clean_split_and_a_leaky_one_read_differently(blobs):
    X, _ = blobs
    pairs = np.arange(120) // 2
    splitter = ClusterSplit(n_clusters=12, test_size=0.5, random_state=0)
    clean = leakage(X, *next(splitter.split(X)), groups=pairs)
    assert clean.verdict.startswith("No leak was found. The test part is separated")
    random = ShuffleSplit(test_size=0.5, random_state=0)
    leaky = leakage(X, *next(random.split(X)), groups=pairs)
    assert "share a group with it" in leaky.verdict
    assert "is not separated" in leaky.verdict
    both = separation(X, *next(splitter.split(X)), groups=pairs)
    assert clean.separation == both


def test_shuffled_ids_are_caught(blobs, ids, rng):
    """A split of ids that do not belong to the rows, as in scrambled files."""
    X, member = blobs
    split = make_split(
        GroupShuffleSplit(1, test_size=0.5), X, ids, member, seed=0, name="groups"
    )
    train, _, test = split.indices(ids)
    assert leakage(X, train, test, ids, member).groups.labels == ()
    shuffled = rng.permutation(ids)
    train, _, test = split.indices(shuffled)
    found = leakage(X, train, test, shuffled, member)
    assert found.groups.n_test > 0.9 * len(test)
    assert found.verdict.startswith("The training part leaks into the test: ")


def test_formulas_are_reduced():
    assert compositions([WATER * 4, METHANE, SALT]) == ["H2O", "CH4", "ClNa"]


def test_the_heaviest_element_labels_a_structure():
    numbers = [WATER, WATER, METHANE, SALT, [30, 8], [30, 6]]
    labels = element_labels(numbers, n_named=2)
    assert labels.tolist() == ["O", "O", "other", "other", "Zn", "Zn"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ids": ["a"]}, "`ids` must have one entry for each of the 6 rows"),
        ({"ids": list("aabcde")}, "Ids must be unique, but 'a'"),
        ({"numbers": [WATER]}, "`numbers` must have one entry for each of the 6"),
        ({"groups": [1, 2]}, "inconsistent numbers of samples"),
    ],
)
def test_bad_input_is_one_sentence(vectors, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        leakage(vectors, [0, 1, 2], [3, 4, 5], **options)
