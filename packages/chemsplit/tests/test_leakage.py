import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from chemsplit import (
    ClusterSplit,
    element_labels,
    leakage,
    make_split,
    reduced_formulas,
    separation,
)

WATER, METHANE, SALT = [8, 1, 1], [6, 1, 1, 1, 1], [11, 17]


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(6, 8))


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, np.float32])
def test_duplicates_are_reported_and_only_those(vectors, form):
    X = np.concatenate([vectors, vectors[:3]])
    X[7] *= 1.5  # same direction, another structure
    X[8] += 1e-5  # a duplicate up to rounding
    report = leakage(form(X), range(6), [6, 7, 8], ids=list("abcdefghi"))
    assert report.duplicates == (("g", "a"), ("i", "c"))
    assert "2 of 3 test structures (67%) are duplicates" in report.verdict
    assert "duplicates in both sets                 2: g = a, i = c" in str(report)


@pytest.mark.parametrize("form", [np.asarray, csr_matrix, np.float32])
def test_a_duplicate_is_found_among_parallel_rows(vectors, form):
    first, *others = vectors
    parallel = [1.5 * first, 0.5 * first, first]
    X = np.stack([*parallel, *others[:3], first, 2 * first])
    report = leakage(form(X), range(6), [6, 7], ids=list("abcdefgh"))
    assert report.duplicates == (("g", "c"),)


def test_the_tolerance_is_relative_to_the_length(vectors):
    normal = np.cross(vectors[0, :3], vectors[1, :3])
    normal *= np.linalg.norm(vectors[0, :3]) / np.linalg.norm(normal)
    X = np.stack([vectors[0, :3], vectors[1, :3], vectors[0, :3] + 0.01 * normal])
    for tolerance, n_duplicates in ((0.0099, 0), (0.0101, 1)):
        report = leakage(X, [0, 1], [2], tolerance=tolerance)
        assert len(report.duplicates) == n_duplicates


def test_shared_groups_are_reported(vectors):
    groups = np.array(["p", "p", "q", "q", "r", "s"])
    report = leakage(vectors, [0, 2, 4], [1, 3, 5], groups=groups)
    assert report.groups.labels == ("p", "q")
    assert report.groups.n_test == 2
    assert "2 of 3 test structures (67%) share a group" in report.verdict
    disjoint = leakage(vectors, [0, 1, 4], [2, 3, 5], groups=groups)
    assert disjoint.groups.labels == ()
    assert disjoint.verdict.startswith("No leak was found.")


def test_elements_compositions_and_sizes_are_compared(vectors):
    numbers = [WATER, METHANE, METHANE, WATER * 2, SALT, SALT * 3]
    report = leakage(vectors, [0, 1, 2], [3, 4, 5], numbers=numbers)
    assert report.formulas.labels == ("H2O",)
    assert report.formulas.n_test == 1
    assert report.new_elements == {"Na": 2, "Cl": 2}
    assert (report.train_sizes.smallest, report.train_sizes.largest) == (3, 5)
    assert (report.test_sizes.median, report.test_sizes.largest) == (6, 6)
    assert "Elements in the test set only: Na (in 2), Cl (in 2)." in report.verdict
    reverse = leakage(vectors, [3, 4, 5], [0, 1], numbers=numbers)
    assert reverse.new_elements == {"C": 1}


def test_larger_test_structures_are_reported(vectors):
    numbers = [WATER, WATER, METHANE, METHANE * 2, WATER * 3, METHANE * 3]
    report = leakage(vectors, [0, 1, 2], [3, 4, 5], numbers=numbers)
    assert "Every test structure is larger than all training" in report.verdict
    report = leakage(vectors, [0, 1, 2, 3], [4, 5], numbers=[*numbers[:5], WATER * 6])
    assert "Every test structure is larger" not in report.verdict
    assert "more than 1.5 times as large" in report.verdict


def test_checks_without_input_are_reported_as_skipped(vectors):
    report = leakage(vectors, [0, 1, 2], [3, 4, 5])
    assert report.groups is report.formulas is report.new_elements is None
    assert "groups were not given" in report.verdict
    assert str(report).count("not checked") == 2
    assert "elements in the" not in str(report)


def test_verdicts_of_a_clean_and_of_a_leaky_split(blobs):
    X, _ = blobs
    pairs = np.arange(120) // 2
    splitter = ClusterSplit(n_clusters=12, test_size=0.5, random_state=0)
    clean = leakage(X, *next(splitter.split(X)), groups=pairs)
    assert clean.verdict.startswith("No leak was found. The test set is separated")
    random = ShuffleSplit(test_size=0.5, random_state=0)
    leaky = leakage(X, *next(random.split(X)), groups=pairs)
    assert "share a group with a training structure" in leaky.verdict
    assert "is not separated" in leaky.verdict
    expected = separation(X, *next(splitter.split(X)), groups=pairs)
    assert clean.separation == expected


def test_shuffled_ids_are_detected(blobs, ids, rng):
    """Ids that do not belong to the rows."""
    X, member = blobs
    split = make_split(
        GroupShuffleSplit(1, test_size=0.5), X, ids, member, seed=0, name="groups"
    )
    train, _, test = split.indices(ids)
    assert leakage(X, train, test, ids, member).groups.labels == ()
    shuffled = rng.permutation(ids)
    train, _, test = split.indices(shuffled)
    report = leakage(X, train, test, shuffled, member)
    assert report.groups.n_test > 0.9 * len(test)
    assert report.verdict.startswith("The training set leaks into the test set: ")


def test_formulas_are_reduced():
    assert reduced_formulas([WATER * 4, METHANE, SALT]) == ["H2O", "CH4", "ClNa"]


def test_structures_are_labeled_by_their_heaviest_element():
    numbers = [WATER, WATER, METHANE, SALT, [30, 8], [30, 6]]
    labels = element_labels(numbers, n_named=2)
    assert labels.tolist() == ["O", "O", "other", "other", "Zn", "Zn"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": ["a"]}, "`ids` must have one entry for each of the 6 rows"),
        ({"ids": list("aabcde")}, "Ids must be unique, but 'a'"),
        ({"numbers": [WATER]}, "`numbers` must have one entry for each of the 6"),
        ({"groups": [1, 2]}, "inconsistent numbers of samples"),
    ],
)
def test_invalid_input_is_a_one_line_error(vectors, options, message):
    with pytest.raises(ValueError, match=message):
        leakage(vectors, [0, 1, 2], [3, 4, 5], **options)
