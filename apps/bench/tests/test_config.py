import pytest
from bench._config import Grid, load_grid, presets
from bench._errors import BenchError


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
    grid = load_grid("quick", ["train.epochs=3", "seeds=[4]", "model.mace.radial=[8]"])
    assert grid.train.epochs == 3
    assert grid.seeds == (4,)
    assert grid.model.mace.radial == (8,)


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
