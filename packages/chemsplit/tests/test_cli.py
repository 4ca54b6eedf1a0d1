import json
import re
import shutil
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from matplotlib.image import imread
from typer.main import get_command
from typer.testing import CliRunner

from chemsplit import DescriptorTable, Split
from chemsplit._cli import app, main

# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates: in
# Atoms(), and in copy() and indexing, which start from it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder; returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(line):
        monkeypatch.setattr(sys, "argv", ["chemsplit", *line.split()])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        return (status or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Folder with forty frames of ten materials and their descriptors."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(40):
        hydrogens = 1 + i // 4
        symbols = ["Zn" if i % 8 < 4 else "O", *"H" * hydrogens]
        frame = Atoms(symbols, 4 * rng.uniform(size=(1 + hydrogens, 3)))
        frame.info |= {"name": f"m{i:02d}", "material": f"g{i // 4}"}
        frames.append(frame)
    folder = tmp_path_factory.mktemp("example")
    ase.io.write(folder / "frames.extxyz", frames)
    with pytest.MonkeyPatch.context() as patch:
        line = (
            f"describe {folder}/frames.extxyz --out {folder}/set.npz "
            "--descriptor composition --id-key name --group-key material"
        )
        patch.setattr(sys, "argv", ["chemsplit", *line.split()])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return folder


@pytest.fixture
def files(example, tmp_path):
    shutil.copytree(example, tmp_path, dirs_exist_ok=True)


def test_describe_writes_one_file(files, run):
    data = DescriptorTable.load("set.npz")
    assert data.ids[:2] == ("m00", "m01")
    assert data.groups[4] == "g1"
    assert data.X.shape == (40, 3)
    assert data.settings == {"descriptor": "Composition(counts=False)"}
    status, out, err = run(
        "describe frames.extxyz -o soap.npz --r-cut 3 --store rows --compression "
        "same-element --periodic no --jobs 1 --id-key name"
    )
    assert (status, out, err) == (0, "soap.npz: 40 structures.\n", "")
    assert "r_cut=3.0" in DescriptorTable.load("soap.npz").settings["descriptor"]


@pytest.mark.parametrize(
    "options",
    [
        "--kind random",
        "--kind size",
        "--kind size --max-train 5",
        "--kind cluster --clusters 5",
        "--kind seed-similarity",
        "--kind seed-similarity --candidates 3",
        "--kind max-min",
        "--kind separated",
        "--kind separated --criterion nearest",
    ],
)
def test_every_split_can_be_made_reported_and_plotted(files, run, options):
    status, out, err = run(f"split set.npz -o split.json --seed 3 {options}")
    assert status == 0, err
    assert all(line.startswith("chemsplit: warning: ") for line in err.splitlines())
    stored, data = Split.load("split.json"), DescriptorTable.load("set.npz")
    sizes = tuple(map(len, (stored.train, stored.validation, stored.test)))
    assert (
        out
        == "split.json: {} training, {} validation and {} test structures.\n".format(
            *sizes
        )
    )
    assert (stored.name, stored.seed) == (options.split()[1], 3)
    assert stored.settings["descriptor"] == "Composition(counts=False)"
    labels = stored.labels(data.ids)
    for group in set(data.groups):
        assert len({labels[i] for i in range(40) if data.groups[i] == group}) == 1
    status, out, err = run("report set.npz --split split.json")
    assert (status, err) == (0, "")
    assert "groups in both sets                     0" in out
    assert "atoms per test structure" in out


def test_report_as_json(files, run):
    run("split set.npz -o split.json --kind random")
    _, out, _ = run("report set.npz --split split.json --json")
    report = json.loads(out)
    assert report["n_test"] == 20
    assert report["groups"] == {"labels": [], "n_test": 0}
    assert report["verdict"].startswith("No leak was found.")
    assert 0 <= report["separation"]["familiar_share"] <= 1


def test_split_of_structures_without_a_descriptor_file(files, run):
    keys = "--id-key name --group-key material"
    status, _, _ = run(f"split frames.extxyz -o split.json --kind random {keys}")
    assert status == 0
    assert Split.load("split.json").settings["descriptor"].startswith("MeanSoap(")


@pytest.mark.parametrize(
    "options",
    [
        "--split a.json",
        "--split a.json --split b.json",
        "--color-by cluster --clusters 5 --title Clusters",
        "--color-by element",
        "--color-by values --values errors.csv --value-label meV",
        "--color-by values --values errors.csv --split a.json",
    ],
)
def test_maps_are_plotted(files, run, rng, options, tmp_path):
    run("split set.npz -o a.json --kind random")
    run("split set.npz -o b.json --kind separated")
    lines = [f"m{i:02d},{rng.uniform()}\n" for i in range(35)]
    (tmp_path / "errors.csv").write_text("".join(lines))
    status, out, err = run(f"map set.npz -o map.png {options}")
    assert (status, out, err) == (0, "map.png: 40 structures.\n", "")
    image = imread("map.png")
    assert image.shape[1] > 900
    assert np.ptp(image[..., :3]) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("describe nowhere.cif -o x.npz", "no structure in the given files"),
        ("describe frames.extxyz -o x.json", 'written to an ".npz" file'),
        (
            "describe frames.extxyz -o x.npz --descriptor composition --r-cut 3",
            "composition has no such setting",
        ),
        ("split set.npz -o s.json --kind cluster --clusters 30", "groups, 10, got 30"),
        ("split set.npz -o s.json --kind random --max-train 5", "got a random split"),
        ("split set.npz -o s.json --kind size --candidates 5", "got a size split"),
        ("split set.npz -o s.json --kind random --test-fraction 1.5", "test_size=1.5"),
        ("split nowhere.npz -o s.json", "No such file or directory: 'nowhere.npz'"),
        ("report set.npz --split set.npz", "is not a split file"),
        ("map set.npz -o map.png", "`--color-by split` needs a split"),
        ("map set.npz -o map.png --color-by values", "needs numbers"),
        ("map set.npz -o map.what --color-by element", "cannot be written to map.what"),
        ("map set.npz -o map --color-by element", "use .png, .pdf or .svg"),
        ("describe frames.extxyz -o no/x.npz", "no folder no to write x.npz in"),
        ("split set.npz -o no/split.json", "no folder no to write split.json in"),
        ("map set.npz -o no/map.png --color-by element", "no folder no to write"),
        ("describe . -o x.npz", "IsADirectoryError: give the files in it"),
        (
            "map set.npz -o m.png --color-by values --values bad.csv",
            "Line 2 of bad.csv",
        ),
        ("report set.npz --split deep.json", "deep.json is not a split file"),
        ("report cut.npz --split deep.json", "cut.npz is not a table"),
        ("split set.npz -o folder/s.json --kind random", "folder/s.json"),
        (
            "describe frames.extxyz -o folder/x.npz --descriptor composition",
            "folder/x.npz",
        ),
        ("map set.npz -o folder/m.png --color-by element", "folder/m.png"),
        ("describe frames.extxyz -o x.npz --store bad.csv", "bad.csv"),
        (f"split set.npz --kind random -o {300 * 's'}.json", "File name too long"),
    ],
)
def test_errors_are_one_line_and_status_1(files, run, line, message, tmp_path):
    (tmp_path / "bad.csv").write_text("m00,1\nm01,high\n")
    (tmp_path / "deep.json").write_text(100_000 * "[")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:-100])
    for name in ("s.json", "x.npz", "m.png"):
        (tmp_path / "folder" / name).mkdir(parents=True)
    status, out, err = run(line)
    assert status == 1
    assert out == ""
    assert err.startswith("chemsplit: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.rglob(".*.tmp*"))


@pytest.mark.parametrize("line", ["describe frames.extxyz -o", "map set.npz -o"])
def test_output_paths_are_checked_before_any_work(files, run, line, monkeypatch):
    for name in ("describe_files", "make_figure"):
        monkeypatch.setattr(f"chemsplit._commands.{name}", lambda *_, **__: 1 / 0)
    status, _, err = run(f"{line} no/file.npz")
    assert status == 1
    assert "no folder no" in err


def test_an_interrupt_is_reported(files, run, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("chemsplit._commands.describe_files", stop)
    status, out, err = run("describe frames.extxyz -o new.npz --store rows")
    assert (status, out) == (130, "")
    assert err == "chemsplit: interrupted.\n"


def test_usage_errors_have_status_2(run):
    status, _, err = run("split set.npz --kind nonsense -o s.json")
    assert status == 2
    assert "nonsense" in err
    assert "Traceback" not in err


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_unreadable_file_is_a_warning(files, run, tmp_path):
    (tmp_path / "broken.cif").write_text("this is no crystal\n")
    status, out, err = run(
        "describe frames.extxyz broken.cif -o x.npz --descriptor composition"
    )
    assert (status, out) == (0, "x.npz: 40 structures.\n")
    assert err.startswith(
        "chemsplit: warning: Skipped files that cannot be read: broken.cif"
    )


def test_help_does_not_import_heavy_packages():
    code = (
        "import sys; from chemsplit import _cli\n"
        "heavy = {'sklearn', 'ase', 'matplotlib', 'umap', 'dscribe'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "ase" not in done.stdout


def test_help_shows_the_full_text_of_each_option(monkeypatch):
    """Square brackets could be interpreted as markup and removed."""
    monkeypatch.setenv("COLUMNS", "400")
    for name, command in get_command(app).commands.items():
        shown = CliRunner().invoke(app, [name, "--help"], color=False).output
        words = " ".join(re.sub("[^ -~]", " ", shown).split())
        for option in command.params:
            text = re.sub("[^ -~]", " ", (option.help or "").replace("\\[", "["))
            assert " ".join(text.split()) in words, option.help
