"""Splits of a dataset."""

import itertools

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.dataset.opening import load_for_training
from bench.exceptions import BenchError
from bench.experiment.descriptors import describe_for_report
from bench.experiment.splits import make_split, split_data
from bench.settings.installed import SPLITTERS, installed_names
from bench.settings.splitting import SplitSettings
from chemsplit import SizeSplit
from scipy.sparse import csr_matrix

KINDS = (
    *("random", "cluster", "size", "seed-similarity", "max-min", "separated"),
    *("charge", "named"),
)


def describe(data):
    return csr_matrix(np.random.default_rng(0).uniform(size=(len(data), 9)))


def test_all_kinds_are_installed():
    assert set(KINDS) <= set(installed_names(SPLITTERS))


@pytest.fixture
def mixed(tmp_path, toy_structure):
    """Structures of two sizes, some of them charged; two per group."""
    frames = [toy_structure(i) for i in range(24)]
    for frame in frames:
        frame.calc.results = {"energy": frame.calc.results["energy"]}
    for frame in frames[8:]:
        energy = frame.calc.results
        del frame[-1]
        frame.calc = SinglePointCalculator(frame, **energy)
    for frame in (*frames[6:8], *frames[14:16]):
        frame.info["total_charge"] = -1
    path = tmp_path / "mixed.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return load_for_training(str(path))


@pytest.mark.parametrize("kind", ["size", "seed-similarity", "max-min", "separated"])
def test_every_split_uses_all_structures_and_does_not_divide_groups(kind, mixed):
    vectors = csr_matrix(np.random.default_rng(0).uniform(size=(len(mixed), 9)))
    split = split_data(mixed, kind, SplitSettings(), 0, lambda _: vectors)
    parts = split.indices(mixed.ids)
    assert sorted(np.concatenate(parts).tolist()) == list(range(24))
    for a, b in itertools.combinations(parts, 2):
        assert not {mixed.groups[i] for i in a} & {mixed.groups[i] for i in b}
    if kind == "size":
        assert {len(mixed.samples[i].structure) for i in parts[2]} == {5}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("count", "groups", "fraction", "message"),
    [
        (1, 1, 0.3, "has 1 structure, and a split needs at least three"),
        (2, 2, 0.3, "has 2 structures, and a split needs at least three"),
        (5, 1, 0.3, "has 1 group of structures, and a split needs at least three"),
        (5, 5, 0.9, "split.test_fraction=0.9 leaves 0 of 5 .* which need one each"),
    ],
)
def test_too_few_structures_for_a_split_are_rejected(
    kind, count, groups, fraction, message, tmp_path, toy_structure
):
    frames = [toy_structure(i) for i in range(count)]
    for i, frame in enumerate(frames):
        frame.info["group"] = f"g{i % groups}"
    path = tmp_path / "few.extxyz"
    ase.io.write(path, frames, format="extxyz")
    data = load_for_training(str(path))
    if fraction == 0.9 and kind in ("charge", "named"):
        message = "needs neutral and charged|but none do"
    settings = SplitSettings(test_fraction=fraction)
    with pytest.raises(BenchError, match=message):
        split_data(data, kind, settings, 0, lambda _: csr_matrix(np.eye(count)))


def test_identical_structures_cannot_be_clustered(mixed):
    with (
        pytest.warns(UserWarning, match="distinct clusters"),
        pytest.raises(BenchError, match="The cluster split cannot be made: All"),
    ):
        equal = lambda data: csr_matrix(np.ones((len(data), 2)))
        split_data(mixed, "cluster", SplitSettings(), 0, equal)


def test_the_test_set_of_the_named_split_is_the_matching_ids(mixed):
    settings = SplitSettings(test_ids="s00[0-3]")
    *_, test = split_data(mixed, "named", settings, 0, describe).indices(mixed.ids)
    assert [mixed.ids[i] for i in test] == ["s000", "s001", "s002", "s003"]
    with pytest.raises(BenchError, match="but none do"):
        split_data(mixed, "named", SplitSettings(), 0, describe)


def test_the_test_set_of_the_charge_split_is_the_charged_structures(mixed):
    split = split_data(mixed, "charge", SplitSettings(), 0, describe)
    *_, test = split.indices(mixed.ids)
    assert {mixed.groups[i] for i in test} == {"g3", "g7"}


def test_descriptors_are_computed_only_for_splits_by_similarity(mixed, monkeypatch):
    computed = []

    def record(structures):
        computed.append(len(structures))
        return describe(structures)

    monkeypatch.setattr("bench.experiment.descriptors.mean_soap", record)
    settings = SplitSettings(test_ids="s00*")
    for kind in KINDS:
        computed.clear()
        split = make_split(mixed, kind, settings=settings)
        is_used = kind in ("cluster", "seed-similarity", "max-min", "separated")
        assert computed == ([24] if is_used else []), kind
        assert split.settings.get("descriptor") == ("mean-soap" if is_used else None)


def test_a_report_describes_a_sample_of_a_large_set(mixed, tmp_path, monkeypatch):
    vectors = csr_matrix(np.random.default_rng(0).uniform(size=(24, 9)))
    name = "bench.experiment.descriptors."
    computed = []

    def record(data, _, rows=None):
        rows = np.arange(len(data)) if rows is None else rows
        computed.append(len(rows))
        return vectors[rows]

    monkeypatch.setattr(name + "descriptors_of", record)
    monkeypatch.setattr(name + "MAX_DESCRIBED", 10)
    first = describe_for_report(mixed, tmp_path, "mean-soap")
    again = describe_for_report(mixed, tmp_path, "mean-soap")
    assert computed == [10] and len(set(first.rows.tolist())) == 10
    assert first.note == " (10 of 24 structures, drawn at random)"
    np.testing.assert_array_equal(first.rows, again.rows)
    assert (first.vectors != vectors[first.rows]).nnz == 0
    monkeypatch.setattr(name + "MAX_DESCRIBED", 24)
    everything = describe_for_report(mixed, tmp_path, "mean-soap")
    assert computed == [10, 24] and everything.note == ""
    # Those of all structures, once stored, serve a sample too.
    monkeypatch.setattr(name + "MAX_DESCRIBED", 10)
    (tmp_path / f"descriptors-mean-soap-{mixed.digest}-10.npz").unlink()
    assert (
        describe_for_report(mixed, tmp_path, "mean-soap").vectors != first.vectors
    ).nnz == 0
    assert computed == [10, 24]


def test_objects_split_by_what_they_need(mixed):
    class LargestId:
        """Tests on the groups of the last ids."""

        needs = "ids"

        def split(self, X, y=None, groups=None):
            assert X.shape == (24, 1) and X[0, 0] == "s000"
            in_test = np.isin(groups, groups[-4:])
            yield np.flatnonzero(~in_test), np.flatnonzero(in_test)

    split = make_split(mixed, LargestId(), seed=3)
    test = {mixed.groups[i] for i in split.indices(mixed.ids)[2]}
    assert split.name == "LargestId" and test == set(mixed.groups[-4:])
    sizes = lambda structures: [[len(atoms)] for atoms in structures]
    split = make_split(mixed, SizeSplit(max_train=4), descriptor=sizes)
    assert {len(mixed.samples[i].structure) for i in split.indices(mixed.ids)[2]} == {5}

    class Wrong(LargestId):
        needs = "id"

    def fail(structures):
        raise AssertionError("descriptors are computed")

    with pytest.raises(BenchError, match="`needs` of the splitter 'Wrong' is 'id', no"):
        make_split(mixed, Wrong(), descriptor=fail)
    with pytest.raises(BenchError, match="'dict' has no method `split`: its author"):
        make_split(mixed, {}, descriptor=fail)

    class DividesGroups(LargestId):
        needs = "nothing"

        def split(self, X, y=None, groups=None):
            yield np.arange(23), np.array([23])

    with pytest.raises(BenchError, match="made: DividesGroups divides groups"):
        make_split(mixed, DividesGroups())
    for wrong, message in (
        (lambda s: [[1.0]], r"shape \(1, 1\) for 24 structures"),
        (lambda s: [[np.nan]] * len(s), "one finite row"),
        (lambda s: [object()] * len(s), "no matrix of numbers"),
    ):
        with pytest.raises(BenchError, match=message):
            make_split(mixed, "cluster", descriptor=wrong)
