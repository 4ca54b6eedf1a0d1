"""Epochs told to TensorBoard and Weights & Biases; stand-ins listen in their place."""

import sys
from types import SimpleNamespace

import pytest
from bench.exceptions import BenchError
from bench.experiment.loggers import log_to
from bench.settings.grid import Run

RUN = Run("own", "random", "mace", "les", 0)
ROWS = [
    {"epoch": 1, "train_loss": 0.5, "validation_stress_mae": None, "seconds": 2.0},
    {"epoch": 2, "train_loss": 0.25, "validation_stress_mae": None, "seconds": 1.0},
]


def tell_all(names, folder):
    heard = []
    with log_to(names, folder, lambda run, row: heard.append(row)) as callback:
        callback(RUN, None)
        for row in ROWS:
            callback(RUN, row)
    assert heard == [None, *ROWS]


def test_tensorboard_gets_every_number_of_every_epoch(tmp_path, monkeypatch):
    told, closed = [], []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, *what):
            told.append(what)

        def close(self):
            closed.append(self.folder)

    module = SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    tell_all(["tensorboard"], tmp_path)
    assert told == [
        ("train_loss", 0.5, 1),
        ("seconds", 2.0, 1),
        ("train_loss", 0.25, 2),
        ("seconds", 1.0, 2),
    ]
    assert closed == [str(tmp_path / "tensorboard" / RUN.name)]


def test_a_run_of_wandb_has_its_name_and_goes_on_when_resumed(tmp_path, monkeypatch):
    told = []

    def init(**options):
        told.append((options["name"], options["id"], options["resume"]))
        log = lambda row, step: told.append((step, row["train_loss"]))
        return SimpleNamespace(log=log, finish=lambda: told.append("end"))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    tell_all(["wandb"], tmp_path)
    name = "random-mace+les-seed0"
    assert told == [
        (name, "random-mace-les-seed0", "allow"), (1, 0.5), (2, 0.25), "end",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("tensorboard", "tensorboardX", "install bench with the extra `tensorboard`"),
        ("wandb", "wandb", "install bench with the extra `wandb`"),
        ("mlflow", "mlflow", "tensorboard or wandb, not to 'mlflow'"),
    ],
)
def test_what_is_not_there_is_said(name, module, message, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BenchError, match=message), log_to([name], tmp_path, print):
        pass
