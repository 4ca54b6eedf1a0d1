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

from chemsplit import Description, Split
from chemsplit._cli import app, main

# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates: in
# Atoms(), and in copy() and indexing, which start from it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder: status, output, errors."""
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
def made(tmp_path_factory):
    """Forty frames of ten materials, and their description."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(40):
        hydrogens = 1 + i // 4
        symbols = ["Zn" if i % 8 < 4 else "O", *"H" * hydrogens]
        frame = Atoms(symbols, 4 * rng.uniform(size=(1 + hydrogens, 3)))
        frame.info |= {"name": f"m{i:02d}", "material": f"g{i // 4}"}
        frames.append(frame)
    folder = tmp_path_factory.mktemp("made")
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
def files(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def test_describe_writes_one_file(files, run):
    data = Description.load("set.npz")
    assert data.ids[:2] == ("m00", "m01")
    assert data.groups[4] == "g1"
    assert data.X.shape == (40, 3)
    assert data.settings == {"descriptor": "Composition(counts=False)"}
    status, out, err = run(
        "describe frames.extxyz -o soap.npz --r-cut 3 --store rows --compression "
        "same-element --periodic no --jobs 1 --id-key name"
    )
    assert (status, out, err) == (0, "soap.npz: 40 structures.\n", "")
    assert "r_cut=3.0" in Description.load("soap.npz").settings["descriptor"]


@pytest.mark.parametrize(
    "options",
    [
        "--kind random",
        "--kind size",
        "--kind size --max-train 5",
        "--kind cluster --clusters 5",
        "--kind seed-similarity",
        "--kind seed-similarity --candidates 3",
        "--kind max-separation",
        "--kind separated",
        "--kind separated --criterion nearest",
    ],
)
def test_every_split_can_be_made_reported_and_drawn(files, run, options):
    status, out, err = run(f"split set.npz -o split.json --seed 3 {options}")
    assert status == 0, err
    assert all(line.startswith("chemsplit: warning: ") for line in err.splitlines())
    stored, data = Split.load("split.json"), Description.load("set.npz")
    sizes = tuple(len(part) for part in (stored.train, stored.validation, stored.test))
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
    assert "groups on both sides                    0" in out
    assert "atoms in test structures" in out


def test_a_report_can_be_read_by_programs(files, run):
    run("split set.npz -o split.json --kind random")
    _, out, _ = run("report set.npz --split split.json --json")
    facts = json.loads(out)
    assert facts["n_test"] == 20
    assert facts["groups"] == {"labels": [], "n_test": 0}
    assert facts["verdict"].startswith("No leak was found.")
    assert 0 <= facts["separation"]["familiar"] <= 1


def test_structures_need_no_description_first(files, run):
    keys = "--id-key name --group-key material"
    status, _, _ = run(f"split frames.extxyz -o split.json --kind random {keys}")
    assert status == 0
    assert Split.load("split.json").settings["descriptor"].startswith("MeanSoap(")


@pytest.mark.parametrize(
    "options",
    [
        "--split a.json",
        "--split a.json --split b.json",
        "--colour cluster --clusters 5 --title Clusters",
        "--colour element",
        "--colour values --values errors.csv --value-label meV",
        "--colour values --values errors.csv --split a.json",
    ],
)
def test_maps_are_drawn(files, run, rng, options, tmp_path):
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
    ("line", "sentence"),
    [
        ("describe nowhere.cif -o x.npz", "no structure in the files given"),
        ("describe frames.extxyz -o x.json", 'kept in an ".npz" file'),
        (
            "describe frames.extxyz -o x.npz --descriptor composition --r-cut 3",
            "composition has no such setting",
        ),
        ("split set.npz -o s.json --kind cluster --clusters 30", "groups, 10, got 30"),
        ("split set.npz -o s.json --kind random --max-train 5", "has no `max-train`"),
        ("split set.npz -o s.json --kind size --candidates 5", "draws no candidates"),
        ("split set.npz -o s.json --kind random --test 1.5", "test_size=1.5"),
        ("split nowhere.npz -o s.json", "No such file or directory: 'nowhere.npz'"),
        ("report set.npz --split set.npz", "is not a split file"),
        ("map set.npz -o map.png", "Colours by split need a split"),
        ("map set.npz -o map.png --colour values", "need the numbers"),
        ("map set.npz -o map.what --colour element", "cannot be written to map.what"),
        ("map set.npz -o map --colour element", "use .png, .pdf or .svg"),
        ("describe frames.extxyz -o no/x.npz", "no folder no to write x.npz in"),
        ("split set.npz -o no/split.json", "no folder no to write split.json in"),
        ("map set.npz -o no/map.png --colour element", "no folder no to write"),
        ("describe . -o x.npz", "IsADirectoryError: name the files in it"),
        ("map set.npz -o m.png --colour values --values bad.csv", "Line 2 of bad.csv"),
        ("report set.npz --split deep.json", "deep.json is not a split file"),
        ("report cut.npz --split deep.json", "cut.npz is not a description"),
        ("split set.npz -o made/s.json --kind random", "made/s.json"),
        ("describe frames.extxyz -o made/x.npz --descriptor composition", "made/x.npz"),
        ("map set.npz -o made/m.png --colour element", "made/m.png"),
        ("describe frames.extxyz -o x.npz --store bad.csv", "bad.csv"),
        (f"split set.npz --kind random -o {300 * 's'}.json", "File name too long"),
    ],
)
def test_a_failure_is_one_sentence_and_a_status(files, run, line, sentence, tmp_path):
    (tmp_path / "bad.csv").write_text("m00,1\nm01,high\n")
    (tmp_path / "deep.json").write_text(100_000 * "[")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:-100])
    for name in ("s.json", "x.npz", "m.png"):
        (tmp_path / "made" / name).mkdir(parents=True)
    status, out, err = run(line)
    assert status == 1
    assert out == ""
    assert err.startswith("chemsplit: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert not list(tmp_path.rglob(".*.tmp*"))


@pytest.mark.parametrize("line", ["describe frames.extxyz -o", "map set.npz -o"])
def test_a_file_that_cannot_be_written_is_found_out_first(
    files, run, line, monkeypatch
):
    for name in ("described", "figure"):
        monkeypatch.setattr(f"chemsplit._commands.{name}", lambda *_, **__: 1 / 0)
    status, _, err = run(f"{line} no/file.npz")
    assert status == 1
    assert "no folder no" in err


def test_an_interrupt_is_said(files, run, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("chemsplit._commands.described", stop)
    status, out, err = run("describe frames.extxyz -o new.npz --store rows")
    assert (status, out) == (130, "")
    assert err == "chemsplit: stopped.\n"


def test_wrong_usage_is_explained(run):
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
        "chemsplit: warning: Left out what cannot be read: broken.cif"
    )


def test_help_is_quick_to_load():
    code = (
        "import sys; from chemsplit import _cli\n"
        "heavy = {'sklearn', 'ase', 'matplotlib', 'umap', 'dscribe'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "ase" not in done.stdout


def test_help_shows_every_word_of_its_source(monkeypatch):
    """Square brackets would be taken for markup and vanish."""
    monkeypatch.setenv("COLUMNS", "400")
    for name, command in get_command(app).commands.items():
        shown = CliRunner().invoke(app, [name, "--help"], color=False).output
        words = " ".join(re.sub("[^ -~]", " ", shown).split())
        for option in command.params:
            text = re.sub("[^ -~]", " ", (option.help or "").replace("\\[", "["))
            assert " ".join(text.split()) in words, option.help
