import subprocess
import sys

import pytest
from bench.experiment.grid import Outcome
from typer.testing import CliRunner

FAST = [
    *(
        "-o",
        "model.mace.channels=4",
        "-o",
        "model.mace.l_max=1",
        "-o",
        "model.mace.hidden_degree=0",
        "-o",
        "model.mace.radial_mlp=[8]",
    ),
    *("-o", "train.epochs=1", "-o", "split.clusters=4"),
]


def test_help_loads_no_jax():
    program = (
        "import sys\nfrom typer.testing import CliRunner\n"
        "from bench.cli.main import app\n"
        "out = CliRunner().invoke(app, ['--help'])\n"
        "assert out.exit_code == 0 and 'run' in out.output, out.output\n"
        "assert not {'jax', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nothing"), "There is no grid 'nothing'"),
        (("run", "quick", "-o", "dataset=none.xyz"), "There is no data set 'none.xyz'"),
        (("report", "nowhere"), "contains no grid"),
        (("template", "no"), "no template 'no': choose one of md, prepare, charges"),
        (("info", "none.xyz"), "There is no data set"),
    ],
)
def test_user_errors_are_one_line(arguments, message, tmp_path, call_bench):
    out = () if arguments[0] != "run" else ("--out", str(tmp_path / "out"))
    status, _, err = call_bench(*arguments, *out)
    assert status == 1
    assert err.startswith("bench: ") and message in err
    assert len(err.strip().splitlines()) == 1


def test_run_and_report_of_a_file(structure_file, tmp_path, monkeypatch):
    from bench.cli.main import app

    out = tmp_path / "out"
    override = ("-o", f"dataset={structure_file}", *FAST)
    result = CliRunner().invoke(app, ["run", "quick", "--out", str(out), *override])
    assert result.exit_code == 0, result.output
    assert "cluster" in result.output and "mace+les" in result.output
    text = (out / "report.md").read_text()
    assert "| cluster | mace+les | 0 |" in text
    assert "## Energy" in text and "## Charges" not in text
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 11
    assert "mace+les" in page
    assert (out / "figures" / "errors.png").stat().st_size > 5000
    again = CliRunner().invoke(app, ["report", str(out)])
    assert again.exit_code == 0
    assert (out / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ({"a": "No data."}, "1 of 4 runs failed. a: No data."),
        (
            {"a": "No data.", "b": "x", "c": "y"},
            "3 of 4 runs failed. a: No data. Also failed: b, c.",
        ),
    ],
)
def test_failed_runs_are_named_once(
    failures, message, call_bench, tmp_path, monkeypatch
):
    outcome = Outcome([], failures)
    monkeypatch.setattr("bench.experiment.grid.execute_runs", lambda *_: outcome)
    status, _, err = call_bench("run", "quick", "--out", tmp_path / "out")
    assert (status, err) == (1, f"bench: {message}\n")
