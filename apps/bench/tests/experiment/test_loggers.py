"""Logging to TensorBoard and Weights & Biases, with mocks of both libraries."""

import sys
from types import SimpleNamespace

import pytest
from bench.cli.main import app
from bench.exceptions import BenchError
from bench.experiment.loggers import log_to
from bench.settings.grid import Run
from typer.testing import CliRunner

RUN = Run("file", "random", "mace", "les", 0)
ROWS = [
    {"epoch": 1, "train_loss": 0.5, "validation_stress_mae": None, "seconds": 2.0},
    {"epoch": 2, "train_loss": 0.25, "validation_stress_mae": None, "seconds": 1.0},
]


def log_all(names, folder):
    received = []
    with log_to(names, folder, lambda run, row: received.append(row)) as callback:
        callback(RUN, None)
        for row in ROWS:
            callback(RUN, row)
    assert received == [None, *ROWS]


def test_tensorboard_receives_all_metrics(tmp_path, monkeypatch):
    scalars, closed = [], []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, *arguments):
            scalars.append(arguments)

        def close(self):
            closed.append(self.folder)

    module = SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    log_all(["tensorboard"], tmp_path)
    assert scalars == [
        ("train_loss", 0.5, 1),
        ("seconds", 2.0, 1),
        ("train_loss", 0.25, 2),
        ("seconds", 1.0, 2),
    ]
    assert closed == [str(tmp_path / "tensorboard" / RUN.name)]


def test_wandb_run_has_its_name_and_is_resumed(tmp_path, monkeypatch):
    calls = []

    def init(**options):
        calls.append((options["name"], options["id"], options["resume"]))
        log = lambda row, step: calls.append((step, row["train_loss"]))
        return SimpleNamespace(log=log, finish=lambda: calls.append("end"))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    log_all(["wandb"], tmp_path)
    name = "random-mace+les-seed0"
    assert calls == [
        (name, "random-mace-les-seed0", "allow"), (1, 0.5), (2, 0.25), "end",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("tensorboard", "tensorboardX", "install bench with the extra `tensorboard`"),
        ("wandb", "wandb", "install bench with the extra `wandb`"),
    ],
)
def test_missing_logger_is_an_error(name, module, message, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BenchError, match=message), log_to([name], tmp_path, print):
        pass


def test_an_unknown_logger_is_rejected_with_the_choices():
    command = ["run", "quick", "--log", "mlflow"]
    error = CliRunner().invoke(app, command, standalone_mode=False).exception
    assert "'mlflow' is not one of 'tensorboard', 'wandb'" in error.format_message()
