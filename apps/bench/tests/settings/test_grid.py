"""Grids: presets, overrides, error messages and bounds of all numbers."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pydantic
import pytest
from bench.exceptions import BenchError
from bench.settings.grid import Grid, load_grid, presets
from bench.settings.installed import SPLITTERS, check_name


def test_presets_are_valid_grids():
    assert {"quick", "layers", "full", "qmof", "odac25", "omol25"} <= set(presets())
    for name in presets():
        runs = load_grid(name).runs()
        assert len({run.name for run in runs}) == len(runs) > 0
        assert any(run.long_range == "none" for run in runs)


def test_a_grid_has_one_run_per_combination():
    grid = Grid(dataset="x", seeds=(1, 2), long_range=("none", "les"))
    names = [r.name for r in grid.runs()]
    assert len(names) == len(set(names)) == 8
    assert "cluster-mace+les-seed2" in names


def test_overrides_change_nested_keys():
    grid = load_grid(
        "quick", ["train.epochs=3", "seeds=[4]", "model.mace.radial_mlp=[8]"]
    )
    assert grid.train.epochs == 3
    assert grid.seeds == (4,)
    assert grid.model.mace.radial_mlp == (8,)


def test_pretraining_phases_come_first():
    charges_first = "{epochs: 2, loss: {energy: 0, force: 0}}"
    grid = load_grid("quick", ["train.epochs=3", f"train.pretrain=[{charges_first}]"])
    assert [p.loss.energy for p in grid.train.schedule] == [0, 0, 30, 30, 30]
    without_charges = grid.train.without(["charge"]).schedule
    assert [p.loss.weights["charge"] for p in without_charges] == [0, 0, 0]


def test_training_settings_of_one_backbone():
    override = "train_overrides={mace: {batch_size: 6, loss: {force: 2}}}"
    grid = load_grid("quick", ["backbones=[mace, allegro]", "train.epochs=3", override])
    mace, allegro = (grid.training(name) for name in grid.backbones)
    assert (mace.batch_size, mace.loss.force, mace.epochs) == (6, 2, 3)
    assert mace.loss.energy == allegro.loss.energy
    assert allegro == grid.train
    published = load_grid("qmof")
    rates = [published.training(name).learning_rate for name in published.backbones]
    assert rates == [0.003, 0.001, 0.01]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train_overrides={mace: {epoch: 3}}",
            "train_overrides.mace: .*'epoch'; did you mean 'ep",
        ),
        ("train_overrides={mice: {}}", "train_overrides.mice"),
        ("train.epoch=3", "unknown key 'train.epoch'; did you mean 'epochs'"),
        ("datasets=x", "unknown key 'datasets'; did you mean 'dataset'"),
        ("train.epochs=none", r"train.epochs: .* \(got 'none'\)"),
        ("train.epochs", "written `key.sub=value`"),
        ("dataset.name=x", "dataset.name': 'dataset' has no keys"),
        ("long_range=[ewald]", "long_range.0: 'ewald' is not installed: installed are"),
        ("long_range=[les+cell]", "'cell' is not installed: did you mean 'celli'"),
        ("backbones=[maze]", "'maze' is not installed: did you mean 'mace'"),
        ("train.frozen=[lse]", "'lse' is not installed: did you mean 'les'"),
        ("model.layers.les.hook=final", "model.layers.les.*'les' is not installed"),
        ("model.backbones.mace.channels=3", "'mace' is not installed: installed are"),
        ("long_range=[les+les]", "long_range.0: "),
        ("train.pretrain=[{epochs: 1, losses: {}}]", "did you mean 'loss'"),
        ("splits=[]", "splits: .*at least 1 item"),
        ("backbones=[]", "backbones: .*at least 1 item"),
        ("long_range=[]", "long_range: .*at least 1 item"),
        ("seeds=[]", "seeds: .*at least 1 item"),
        ("splits=[size, random, size]", "splits: 'size' is repeated"),
        ("backbones=[mace, mace]", "backbones: 'mace' is repeated"),
        ("seeds=[1, 0, 1]", "seeds: 1 is repeated"),
        ("long_range=[les+celli, celli+les]", "'celli.les' is repeated"),
        ("train.frozen=[backbone, long_range]", "train.frozen: .*all parts are frozen"),
        ("train.loss={energy: 0, force: 0, charge: 0}", "all weights are zero"),
        ("model.mace.hidden_degree=3", "model.mace: hidden_degree 3 is above l_max 2"),
        ("model.allegro.features=[9x]", "model.allegro.features.0: .*match"),
        ("model.allegro.features=[]", "model.allegro.features: .*at least 1 item"),
        (
            "splits=[randum]",
            "splits.0: 'randum' is not installed: did you mean 'ra",
        ),
        ("split.descriptor=soap", "split.descriptor: 'soap' is not installed"),
        ("dataset=''", "dataset: .*at least 1 character"),
    ],
)
def test_invalid_overrides_are_rejected_with_the_key(override, message):
    with pytest.raises(BenchError, match=message):
        load_grid("quick", [override])


def test_unknown_and_invalid_grids_are_rejected(tmp_path):
    with pytest.raises(
        BenchError, match="no grid 'fast'.* charges, dipeptides, full, ions, la"
    ):
        load_grid("fast")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(BenchError, match="not valid YAML"):
        load_grid(str(broken))
    broken.write_text("- a list")
    with pytest.raises(BenchError, match="must contain keys and values"):
        load_grid(str(broken))


def numbers(model: type[pydantic.BaseModel], path: str = "") -> Iterator[str]:
    """Yields the paths of all numbers in a schema, with `[]` after those in lists."""
    for name, field in model.model_fields.items():
        types = list(_types(field.annotation))
        schemas = [t for t in types if issubclass(t, pydantic.BaseModel)]
        for schema in schemas:
            yield from numbers(schema, f"{path}{name}.")
        if not schemas and {int, float} & set(types):
            yield path + name + ("[]" if tuple in types else "")


def _types(annotation) -> Iterator[type]:
    """Yields the types in a union, a list or an annotated type."""
    outer = get_origin(annotation) or annotation
    if isinstance(outer, type):
        yield outer
    for argument in get_args(annotation):
        yield from _types(argument)


def settings_with(path: str, value: Any) -> dict[str, Any]:
    """Returns grid settings with one changed value, also in lists and phases."""
    settings: Any = [value] if path.endswith("[]") else value
    for name in reversed(path.removesuffix("[]").split(".")):
        is_phase = name == "pretrain"
        settings = {name: [{"epochs": 1} | settings] if is_phase else settings}
    return {"dataset": "quick"} | settings


ZERO_IS_VALID = (
    "loss.",
    "weight_decay",
    "warmup_fraction",
    "decay_exponent",
    "ema_decay",
    "hidden_degree",
    "seeds",
)
INVALID = (np.inf, -np.inf, np.nan, -1, 1e30, "1e30", [], True, "")


def test_every_number_has_bounds():
    """Infinite, negative, huge and non-numeric values are rejected with the key."""
    paths = list(numbers(Grid))
    assert len(paths) > 45 and len(set(paths)) == len(paths)
    assert {
        "seeds[]",
        "model.mace.radial_mlp[]",
        "train.pretrain.loss.huber_delta",
    } <= set(paths)
    accepted = []
    for path in paths:
        zero_is_invalid = "huber" in path or not any(
            name in path for name in ZERO_IS_VALID
        )
        for value in (*INVALID, 0) if zero_is_invalid else INVALID:
            try:
                Grid(**settings_with(path, value))
            except pydantic.ValidationError as error:
                name = path.removesuffix("[]").rpartition(".")[2]
                assert name in error.errors()[0]["loc"], (path, error)
            else:
                accepted.append((path, value))
    assert not accepted


def test_an_infinite_number_is_a_one_line_error():
    with pytest.raises(
        BenchError, match=r"train.clip_grad: .*finite number \(got inf\).$"
    ):
        load_grid("quick", ["train.clip_grad=.inf"])


def test_the_readme_lists_all_splits_and_the_full_preset():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    numerals = {6: "six", 7: "seven", 8: "eight", 9: "nine"}
    (row,) = [line for line in readme.splitlines() if line.startswith("| `splits` |")]
    points = entry_points(group=SPLITTERS)
    kinds = {point.name for point in points if point.dist.name == "bench"}
    assert all(f"`{name}`" in row for name in kinds)
    assert f"{numerals[len(kinds)]} splits;" in readme
    full = load_grid("full")
    assert f"on the {numerals[len(full.splits)]} splits" in readme
    assert kinds - set(full.splits) == {"charge", "named"}
    assert full.long_range == ("none", "celli", "efa", "les", "celli+efa")
    assert full.backbones == ("mace", "allegro", "dimenet")


def test_names_of_packages_that_are_not_installed():
    with pytest.raises(ValueError, match="installed are none: install bench again"):
        check_name("random", ())
