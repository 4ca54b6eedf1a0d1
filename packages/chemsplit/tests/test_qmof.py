"""Separation of the splits on real MOFs."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from sklearn.model_selection import ShuffleSplit

from chemsplit import (
    ClusterSplit,
    MaxMinSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    leakage,
    make_split,
    mean_soap,
)
from chemsplit._row_space import row_space_coordinates

# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates: in
# Atoms(), and in copy() and indexing, which start from it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)


def describe_mofs(count, **options):
    default = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("BENCH_DATA", default)) / "qmof" / "qmof_dev.npz"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    with np.load(path) as file:
        arrays = {
            name: file[name]
            for name in ("numbers", "frac", "cell", "n_atoms", "qmof_id")
        }
    ends = np.cumsum(arrays["n_atoms"])
    chosen = np.random.default_rng(0).permutation(len(ends))[:count]
    structures = [
        Atoms(
            arrays["numbers"][span],
            scaled_positions=arrays["frac"][span].astype(float),
            cell=arrays["cell"][i].astype(float),
            pbc=True,
        )
        for i in chosen
        for span in [slice(ends[i] - arrays["n_atoms"][i], ends[i])]
    ]
    ids = [str(id) for id in arrays["qmof_id"][chosen]]
    return mean_soap(structures, **options), ids, [s.numbers for s in structures]


@pytest.fixture(scope="module")
def few():
    """Sixty MOFs and a small basis."""
    return describe_mofs(60, n_max=3, l_max=3, n_jobs=1)


@pytest.fixture(scope="module")
def thousand():
    """A thousand MOFs with the published descriptor, in row-space coordinates."""
    X, ids, numbers = describe_mofs(1000)
    return row_space_coordinates(X), ids, numbers


def test_shuffled_ids_are_detected(few, rng):
    X, ids, numbers = few
    split = make_split(SeparatedSplit(test_size=0.5), X, ids, seed=0, name="separated")
    train, _, test = split.indices(ids)
    correct = leakage(X, train, test, ids, numbers=numbers)
    train, _, test = split.indices(rng.permutation(ids))
    shuffled = leakage(X, train, test, ids, numbers=numbers)
    assert (
        correct.separation.familiar_share
        < 0.25
        < 0.35
        < shuffled.separation.familiar_share
    )
    assert "is not separated" in shuffled.verdict


# The report calls a test set separated below 0.15 and partly separated below 0.35;
# K-means clusters are adjacent to each other and separate least.
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("splitter", "max_share"),
    [
        (ClusterSplit(test_size=0.5), 0.45),
        (SeedSimilaritySplit(test_size=0.5), 0.35),
        (MaxMinSplit(test_size=0.5), 0.15),
        (SeparatedSplit(test_size=0.5), 0.35),
        (SeparatedSplit(criterion="nearest", test_size=0.5), 0.02),
    ],
)
def test_familiar_share_of_a_thousand_mofs(thousand, splitter, max_share, seed):
    X, ids, _ = thousand
    split = make_split(splitter, X, ids, validation_fraction=0, seed=seed, name="any")
    train, _, test = split.indices(ids)
    random = make_split(
        ShuffleSplit(1, test_size=0.5),
        X,
        ids,
        validation_fraction=0,
        seed=seed,
        name="random",
    )
    expected = leakage(X, *(random.indices(ids)[i] for i in (0, 2))).separation
    measured = leakage(X, train, test).separation
    assert measured.familiar_share <= max_share
    assert 0.4 < expected.familiar_share < 0.6
    assert measured.test_to_train.median < expected.test_to_train.median
