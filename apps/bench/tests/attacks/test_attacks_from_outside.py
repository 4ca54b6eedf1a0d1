"""Attacks on separate processes: kills, and errors on their standard streams."""

import json
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

PROGRAM = "import sys; from {1} import main; sys.argv[0] = '{0}'; main()"
MODULES = {"bench": "bench.cli.main", "chemsplit": "chemsplit._cli"}


def program(name, *arguments, **options):
    command = [
        sys.executable,
        "-c",
        PROGRAM.format(name, MODULES[name]),
        *map(str, arguments),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def test_a_killed_simulation_resumes_with_equal_results(bases, command, tmp_path):
    out = tmp_path / "md"
    simulation_folder = out / "mace" / "own-0"
    line = ["md", bases.run, "--structure", bases.xyz, "-o", "structures.frames=0"]
    line += ["--mode", "dev", "--out", out]
    for name in (
        "simulation.json",
        "relaxation.json",
        "nvt/end.npz",
        "ramp/thermo.csv",
    ):
        with program("bench", *line) as process:
            while process.poll() is None and not (simulation_folder / name).exists():
                time.sleep(0.01)
            process.kill()
    assert command("bench", *line)[0] == 0
    results = [
        json.loads((folder / "mace" / "own-0" / "result.json").read_text())
        for folder in (out, bases.simulated)
    ]
    replicas = [[stage["replicas"] for stage in result["stages"]] for result in results]
    assert replicas[0] == replicas[1]
    assert results[0]["relaxation"] == results[1]["relaxation"]
    assert not list(out.rglob("*.partial")) and not list(out.rglob("checkpoint.npz"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bench", ("run", "{grid}", "-o", "seeds=[0", "--out", "o")),
        ("bench", ("md", "{run}", "--structure", "{xyz}", "--out", "o")),
        ("bench", ("report", "{home}")),
        ("bench", ("info", "{grid}")),
        ("bench", ("train", "{grid}", "random-mace-seed0", "--distributed")),
        ("chemsplit", ("report", "{descriptors}", "--split", "{grid}")),
    ],
)
def test_errors_of_processes(name, words, bases, tmp_path):
    paths = {k: str(v) for k, v in vars(bases).items()}
    with program(name, *(w.format(**paths) for w in words), cwd=tmp_path) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert len(err.splitlines()) == 1 and err.startswith(f"{name}: ")
    assert not list(tmp_path.iterdir())
