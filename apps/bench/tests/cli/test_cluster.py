"""Cluster jobs, with a mock of submitit that runs them in this process."""

import sys
from types import ModuleType, SimpleNamespace

import ase.io
import pytest
from bench.cli.cluster import submit_shards
from bench.dataset.preparing import prepare
from bench.exceptions import BenchError
from bench.settings.preparation import PreparationSettings
from typer.testing import CliRunner


class Executor:
    """Mock of `submitit.AutoExecutor` that runs jobs immediately."""

    options: dict = {}

    def __init__(self, folder, cluster):
        self.options.update(folder=folder, cluster=cluster)

    def update_parameters(self, **parameters):
        if "nonsense" in parameters:
            raise NameError("unknown option nonsense")
        self.options.update(parameters)

    def map_array(self, work, *columns):
        for arguments in zip(*columns, strict=True):
            work(*arguments)
        return [SimpleNamespace(job_id=f"7_{i}") for i, _ in enumerate(columns[0])]


@pytest.fixture
def cluster(monkeypatch):
    module = ModuleType("submitit")
    module.AutoExecutor = Executor
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr("bench.cli.cluster.available_cores", lambda: 0)
    monkeypatch.setattr("bench.sources.extxyz.ROWS_PER_RANGE", 5)


@pytest.fixture
def file(tmp_path, toy_structure):
    path = tmp_path / "frames.xyz"
    ase.io.write(path, [toy_structure(i) for i in range(12)], format="extxyz")
    return path


def test_shards_are_read_by_jobs_and_merged(cluster, file, tmp_path):
    out = tmp_path / "out"
    jobs = submit_shards(
        PreparationSettings(source=str(file)),
        out,
        2,
        {"cluster": "slurm", "timeout_min": 9},
    )
    assert jobs == ["7_0", "7_1"]
    assert (
        Executor.options["cluster"] == "slurm" and Executor.options["timeout_min"] == 9
    )
    assert len(list((out / "parts").iterdir())) == 3
    progress = []
    header = prepare(
        PreparationSettings(source=str(file)),
        out,
        callback=lambda *x: progress.append(x),
    )
    assert progress == [(3, 3)] and header["structures"] == 12


def test_prepare_submits(cluster, file, tmp_path):
    from bench.cli.main import app

    command = ["prepare", str(file), "--out", str(tmp_path / "out"), "--submit", "3"]
    result = CliRunner().invoke(app, [*command, "--submit-option", "timeout_min=60"])
    assert result.exit_code == 0, result.output
    assert "Submitted 3 jobs" in result.output and Executor.options["timeout_min"] == 60
    invalid = CliRunner().invoke(app, [*command, "--submit-option", "timeout"])
    assert "KEY=VALUE, got timeout" in str(invalid.exception)


def test_unknown_options_and_missing_library_are_errors(
    cluster, file, tmp_path, monkeypatch
):
    request = PreparationSettings(source=str(file))
    with pytest.raises(BenchError, match="submitit rejects .*nonsense"):
        submit_shards(request, tmp_path / "out", 2, {"nonsense": 1})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(BenchError, match="extra `slurm`"):
        submit_shards(request, tmp_path / "out", 2, {})


def test_runs_are_submitted(cluster, grid_of, toy_structure, tmp_path):
    """Each job makes one run; the same command without --submit writes the report."""
    import yaml
    from bench.cli.main import app

    path = tmp_path / "own.extxyz"
    ase.io.write(path, [toy_structure(i) for i in range(24)], format="extxyz")
    grid = grid_of(path)
    settings = {"train": {"epochs": 1}, "splits": ["random"], "long_range": ["none"]}
    config = tmp_path / "grid.yaml"
    config.write_text(yaml.safe_dump(grid.model_dump(mode="json") | settings))
    command = ["run", str(config), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--submit"])
    assert result.exit_code == 0, result.output
    assert (
        "Submitted 1 jobs" in result.output and Executor.options["name"] == "bench-run"
    )
    assert (tmp_path / "out" / "random-mace-seed0" / "result.json").exists()
    again = CliRunner().invoke(app, [*command, "--submit"])
    assert "nothing to submit" in str(again.exception)
