import dataclasses
import json

import numpy as np
import pytest

from chemsplit import Split

IDS = ["e", "d", "c", "b", "a"]


@pytest.fixture
def split():
    settings = {"n_clusters": 20, "species": (1, 8)}
    return Split(("b", "a"), ("c",), ("d", "e"), "cluster", settings, seed=7)


def test_a_loaded_split_equals_the_saved_one(split, tmp_path):
    path = tmp_path / "split.json"
    split.save(path)
    loaded = Split.load(path)
    assert loaded == split
    assert loaded.digest == split.digest
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]
    assert json.loads(path.read_text())["train"] == ["a", "b"]


def test_indices_follow_the_order_of_the_data(split):
    train, validation, test = split.indices(IDS)
    np.testing.assert_array_equal(train, [3, 4])
    np.testing.assert_array_equal(validation, [2])
    np.testing.assert_array_equal(test, [0, 1])
    labels = ["test", "test", "validation", "train", "train"]
    assert split.labels(IDS).tolist() == labels


def test_the_hash_depends_on_every_field(split):
    others = [
        dataclasses.replace(split, **change)
        for change in (
            {"train": ("a", "x")},
            {"test": ("d",), "unused": ("e",)},
            {"name": "random"},
            {"seed": 8},
            {"settings": {"n_clusters": 10}},
        )
    ]
    assert len({split.digest, *(other.digest for other in others)}) == 6
    reordered = dataclasses.replace(split, train=("a", "b"))
    assert reordered.digest == split.digest


def test_a_split_is_immutable(split):
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.train = ()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[1:], "lacks 1 of the split's 5 ids: 'e'"),
        ([*IDS, "f"], "has 1 ids that are not in the split: 'f'"),
        ([*IDS, "a"], "must be unique, but 'a' occur more than once in the data set"),
        (list("vwxyz"), "lacks 5 of the split's 5 ids: 'a', 'b', 'c' and 2 more"),
    ],
)
def test_another_data_set_is_rejected(split, ids, message):
    with pytest.raises(ValueError, match=message):
        split.indices(ids)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["train"].append("z"), "was edited after it was written"),
        (lambda c: c.update(seed=1), "was edited after it was written"),
        (lambda c: c.pop("digest"), "was edited after it was written"),
        (lambda c: c.pop("seed"), "has missing or unknown fields"),
        (lambda c: c.pop("format"), "not a split file of this version"),
        (lambda c: c["test"].append("a"), "Ids must be unique"),
    ],
)
def test_an_edited_file_is_rejected(split, tmp_path, edit, message):
    path = tmp_path / "split.json"
    split.save(path)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        Split.load(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": 1}'])
def test_another_file_is_rejected(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not a split file"):
        Split.load(path)


def test_a_failed_save_does_not_change_the_old_file(split, tmp_path, monkeypatch):
    path = tmp_path / "split.json"
    split.save(path)
    before = path.read_text()

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        dataclasses.replace(split, seed=9).save(path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]


@pytest.mark.parametrize(
    ("id_sets", "message"),
    [
        ((("a",), (), ("a",)), "Ids must be unique, but 'a'"),
        ((("a",), ("b",), ()), "needs training and test ids, got 1 and 0"),
    ],
)
def test_overlapping_or_empty_sets_are_rejected(id_sets, message):
    with pytest.raises(ValueError, match=message):
        Split(*id_sets)
