"""Files of a run, intact and damaged: the error is one line that names the file."""

import dataclasses
import json

import ase.io
import numpy as np
import pytest
import scipy.sparse
from bench.evaluation.run_files import (
    read_cost,
    read_failure_reason,
    read_grid,
    read_history,
    read_result,
    read_split,
    read_test_ids,
    read_test_predictions,
)
from bench.exceptions import BenchError
from bench.experiment.descriptors import stored_descriptors
from bench.labels import KINDS
from bench.model.metadata import read_model_metadata
from bench.settings.architectures import ModelSettings
from bench.settings.grid import Grid, Run
from chemsplit import Split

RUN = Run("own", "random", "mace", "none", 0)


@pytest.fixture
def run_folder(tmp_path, toy_structure):
    """The folder of a finished run, without weights."""
    folder = tmp_path / RUN.name
    folder.mkdir()
    errors = {f"{kind}_mae": 1.0 if kind == "energy" else None for kind in KINDS}
    result = {
        "run": dataclasses.asdict(RUN),
        "model": RUN.model,
        "data": "0123",
        "parameters": 7,
        "sizes": {"train": 1, "validation": 1, "test": 2},
        "excluded": {"structures": 0, "new_elements": {}},
        "errors": {"validation": errors, "test": errors},
        "floors": {"validation": errors, "test": errors},
        "charge_sign": -1,
        "settings": ModelSettings().model_dump(mode="json"),
    }
    write = lambda name, value: (folder / name).write_text(json.dumps(value))
    write("result.json", result)
    write("cost.json", {"microseconds_per_atom": 2.5, "mebibytes": None})
    write("failed.json", {"reason": "because"})
    row = {"epoch": 1, "validation_energy_mae": 2.0, "validation_stress_mae": None}
    (folder / "metrics.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    Split(["s000"], ["s001"], ["s002", "s003"]).save(folder / "split.json")
    frames = [toy_structure(i) for i in range(1, 4)]
    for i, atoms in enumerate(frames, 1):
        part = "validation" if i == 1 else "test"
        atoms.info |= {"part": part, "index": i, "total_charge": 0.0}
        atoms.info |= {"label_energy": 1.0, "floor_energy": 1.5}
        atoms.arrays |= {"label_forces": np.ones((5, 3)), "model_charges": np.ones(5)}
    ase.io.write(folder / "predictions.extxyz", frames, format="extxyz")
    (tmp_path / "config.yaml").write_text("dataset: own\nsplits: [random]\n")
    return folder


READERS = {
    "result.json": lambda run_folder: (
        read_result(run_folder),
        read_model_metadata(run_folder),
    ),
    "cost.json": read_cost,
    "failed.json": read_failure_reason,
    "metrics.jsonl": read_history,
    "split.json": lambda run_folder: (
        read_split(run_folder),
        read_test_ids(run_folder),
    ),
    "predictions.extxyz": lambda run_folder: read_test_predictions(
        run_folder, {"test": 2}, Split(["s000"], ["s001"], ["s002", "s003"])
    ),
    "../config.yaml": lambda run_folder: read_grid(run_folder.parent),
}


def test_intact_files_are_read(run_folder):
    result, (run, metadata) = READERS["result.json"](run_folder)
    assert run == RUN and metadata == result
    assert result["errors"]["test"]["energy_mae"] == 1.0
    assert read_cost(run_folder)["microseconds_per_atom"] == 2.5
    assert read_failure_reason(run_folder) == "because"
    assert [row["epoch"] for row in read_history(run_folder)] == [1, 1]
    assert read_test_ids(run_folder) == set(read_split(run_folder).test)
    frames = READERS["predictions.extxyz"](run_folder)
    assert [f.info["id"] for f in frames] == ["s002", "s003"]
    assert read_grid(run_folder.parent) == Grid(dataset="own", splits=("random",))


def test_ids_that_look_like_numbers_remain_strings(run_folder):
    path = run_folder / "predictions.extxyz"
    text = path.read_text().replace("id=s002", "id=01.001_080").replace("s003", "007")
    path.write_text(text.replace("group=g1", "group=1e5"))
    split = Split(["s000"], ["s001"], ["01.001_080", "007"])
    frames = read_test_predictions(run_folder, {"test": 2}, split)
    assert [f.info["id"] for f in frames] == ["01.001_080", "007"]
    assert [f.info["group"] for f in frames] == ["1e5", "1e5"]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: 2 * len(content) // 3],
        lambda content: b"\xff\xfe" + content,
        lambda content: b"null",
        lambda content: b"[]",
        lambda content: b"{}",
        lambda content: 100_000 * b"[",
        lambda content: content.replace(b":", b"="),
        lambda content: content.replace(b"s00", b"\x00").replace(b"e", b""),
        None,
    ],
    ids=[
        "empty",
        "cut",
        "binary",
        "null",
        "list",
        "object",
        "deep",
        "equals",
        "letters",
        "missing",
    ],
)
def test_errors_name_the_damaged_file(name, damage, run_folder):
    path = run_folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BenchError) as error:
        READERS[name](run_folder)
    assert path.name in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("result.json", '"energy_mae": 1.0', '"energy_mae": "1.0"', "energy_mae"),
        ("result.json", '"mace"', '"none"', "run.backbone"),
        ("cost.json", "2.5", "[2.5]", "microseconds_per_atom"),
        ("metrics.jsonl", '"epoch": 1', '"epoch": "1"', "line 1, is damaged"),
        ("split.json", '"s003"', '"s004"', "was edited after it was written"),
        ("predictions.extxyz", "id=s003", "id=s009", "was tested on"),
        ("predictions.extxyz", "group=g1", "grape=g1", "has no group"),
        ("predictions.extxyz", "total_charge=0.0", "total_charge=inf", "not finite"),
        ("predictions.extxyz", "label_forces:R:3", "label_forces:R:2", "damaged"),
    ],
)
def test_errors_name_the_damaged_value(name, old, new, message, run_folder):
    path = run_folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BenchError) as error:
        READERS[name](run_folder)
    assert message in str(error.value) and path.name in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-200],
        lambda content: content[:200] + b"\x00" * 40 + content[240:],
        lambda content: b"no archive",
    ],
)
def test_damaged_descriptors_are_recomputed(damage, tmp_path, monkeypatch):
    class Data:
        digest = "0123"

        def __len__(self):
            return 6

    descriptors = scipy.sparse.csr_matrix(np.arange(30.0).reshape(6, 5))
    monkeypatch.setattr(
        "bench.experiment.descriptors.descriptors_of", lambda *_: descriptors
    )
    assert (stored_descriptors(Data(), tmp_path, "mean-soap") != descriptors).nnz == 0
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert (stored_descriptors(Data(), tmp_path, "mean-soap") != descriptors).nnz == 0
    monkeypatch.setattr("bench.experiment.descriptors.descriptors_of", lambda *_: 1 / 0)
    assert (stored_descriptors(Data(), tmp_path, "mean-soap") != descriptors).nnz == 0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
