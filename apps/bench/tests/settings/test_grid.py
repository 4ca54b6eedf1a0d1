from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pydantic
import pytest
from bench.exceptions import BenchError
from bench.settings.grid import Grid, SplitKind, load_grid, presets


def test_every_preset_is_a_grid():
    assert {"quick", "layers", "full", "qmof", "odac25", "omol25"} <= set(presets())
    for name in presets():
        runs = load_grid(name).runs()
        assert len({run.name for run in runs}) == len(runs) > 0
        assert any(run.long_range == "none" for run in runs)


def test_a_grid_is_all_combinations():
    grid = Grid(dataset="x", seeds=(1, 2), long_range=("none", "les"))
    names = [r.name for r in grid.runs()]
    assert len(names) == len(set(names)) == 8
    assert "cluster-mace+les-seed2" in names


def test_overrides_reach_any_key():
    grid = load_grid(
        "quick", ["train.epochs=3", "seeds=[4]", "model.mace.radial_mlp=[8]"]
    )
    assert grid.train.epochs == 3
    assert grid.seeds == (4,)
    assert grid.model.mace.radial_mlp == (8,)


def test_phases_come_before_the_last_epochs():
    charges_first = "{epochs: 2, loss: {energy: 0, force: 0}}"
    grid = load_grid("quick", ["train.epochs=3", f"train.pretrain=[{charges_first}]"])
    assert [p.loss.energy for p in grid.train.schedule] == [0, 0, 10, 10, 10]
    latent = grid.train.without(["charge"]).schedule
    assert [p.loss.weights["charge"] for p in latent] == [0, 0, 0]


def test_a_backbone_may_be_trained_in_its_own_way():
    own = "train_of={mace: {batch: 6, loss: {force: 2}}}"
    grid = load_grid("quick", ["backbones=[mace, allegro]", "train.epochs=3", own])
    mace, allegro = (grid.training(name) for name in grid.backbones)
    assert (mace.batch, mace.loss.force, mace.epochs) == (6, 2, 3)
    assert mace.loss.energy == allegro.loss.energy
    assert allegro == grid.train
    published = load_grid("qmof")
    rates = [published.training(name).learning_rate for name in published.backbones]
    assert rates == [0.003, 0.001, 0.01]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train_of={mace: {epoch: 3}}", "train_of.mace: .*'epoch'; did you mean 'ep"),
        ("train_of={mice: {}}", "train_of.mice"),
        ("train.epoch=3", "unknown key 'train.epoch'; did you mean 'epochs'"),
        ("datasets=x", "unknown key 'datasets'; did you mean 'dataset'"),
        ("train.epochs=none", r"train.epochs: .* \(got 'none'\)"),
        ("train.epochs", "reads `key.sub=value`"),
        ("dataset.name=x", "which holds no keys"),
        ("long_range=[ewald]", "long_range.0: .*joined by `.`"),
        ("long_range=[les+les]", "long_range.0: "),
        ("train.pretrain=[{epochs: 1, losses: {}}]", "did you mean 'loss'"),
        ("splits=[]", "splits: .*at least 1 item"),
        ("backbones=[]", "backbones: .*at least 1 item"),
        ("long_range=[]", "long_range: .*at least 1 item"),
        ("seeds=[]", "seeds: .*at least 1 item"),
        ("splits=[size, random, size]", "splits: 'size' is there twice"),
        ("backbones=[mace, mace]", "backbones: 'mace' is there twice"),
        ("seeds=[1, 0, 1]", "seeds: 1 is there twice"),
        ("long_range=[les+celli, celli+les]", "'celli.les' is there twice"),
        ("train.frozen=[backbone, long_range]", "train.frozen: everything is frozen"),
        ("train.loss={energy: 0, force: 0, charge: 0}", "all weights are zero"),
        ("model.mace.hidden_degree=3", "model.mace: hidden_degree 3 is above l_max 2"),
        ("model.allegro.features=[9x]", "model.allegro.features.0: .*match"),
        ("model.allegro.features=[]", "model.allegro.features: .*at least 1 item"),
        ("dataset=''", "dataset: .*at least 1 character"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(BenchError, match=message):
        load_grid("quick", [override])


def test_unknown_and_broken_grids_are_refused(tmp_path):
    with pytest.raises(
        BenchError, match="no grid 'fast'.* charges, dipeptides, full, ions, la"
    ):
        load_grid("fast")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(BenchError, match="not valid YAML"):
        load_grid(str(broken))
    broken.write_text("- a list")
    with pytest.raises(BenchError, match="must hold keys and values"):
        load_grid(str(broken))


def numbers(model: type[pydantic.BaseModel], path: str = "") -> Iterator[str]:
    """Paths of all keys of a schema that hold a number; `[]` after those of lists."""
    for name, field in model.model_fields.items():
        kinds = list(_kinds(field.annotation))
        schemas = [k for k in kinds if issubclass(k, pydantic.BaseModel)]
        for schema in schemas:
            yield from numbers(schema, f"{path}{name}.")
        if not schemas and {int, float} & set(kinds):
            yield path + name + ("[]" if tuple in kinds else "")


def _kinds(annotation) -> Iterator[type]:
    """Types in a union, a list or an annotated type."""
    own = get_origin(annotation) or annotation
    if isinstance(own, type):
        yield own
    for part in get_args(annotation):
        yield from _kinds(part)


def settings_with(path: str, value: Any) -> dict[str, Any]:
    """Settings of a grid with one value, also in a list or in a phase."""
    found: Any = [value] if path.endswith("[]") else value
    for name in reversed(path.removesuffix("[]").split(".")):
        phase = name == "pretrain"
        found = {name: [{"epochs": 1} | found] if phase else found}
    return {"dataset": "quick"} | found


ZERO_IS_MEANT = ("loss.", "weight_decay", "warmup", "ema", "hidden_degree", "seeds")
BAD = (np.inf, -np.inf, np.nan, -1, 1e30, "1e30", [], True, "")


def test_every_number_has_bounds():
    """Infinite, missing, negative and enormous ones are refused by name."""
    paths = list(numbers(Grid))
    assert len(paths) > 45 and len(set(paths)) == len(paths)
    assert {"seeds[]", "model.mace.radial_mlp[]", "train.pretrain.loss.huber"} <= set(
        paths
    )
    passed = []
    for path in paths:
        never_zero = "huber" in path or not any(name in path for name in ZERO_IS_MEANT)
        for value in (*BAD, 0) if never_zero else BAD:
            try:
                Grid(**settings_with(path, value))
            except pydantic.ValidationError as error:
                name = path.removesuffix("[]").rpartition(".")[2]
                assert name in error.errors()[0]["loc"], (path, error)
            else:
                passed.append((path, value))
    assert not passed


def test_an_infinite_number_is_named_in_one_line():
    with pytest.raises(BenchError, match=r"train.clip: .*finite number \(got inf\).$"):
        load_grid("quick", ["train.clip=.inf"])


def test_the_readme_counts_splits_and_what_full_is():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    words = {6: "six", 7: "seven", 8: "eight", 9: "nine"}
    (row,) = [line for line in readme.splitlines() if line.startswith("| `splits` |")]
    known = get_args(SplitKind)
    assert all(f"`{name}`" in row for name in known)
    assert f"{words[len(known)]} splits;" in readme
    full = load_grid("full")
    assert f"on the {words[len(full.splits)]} splits" in readme
    assert set(known) - set(full.splits) == {"charge", "named"}
    assert full.long_range == ("none", "celli", "efa", "les", "celli+efa")
    assert full.backbones == ("mace", "allegro", "dimenet")
