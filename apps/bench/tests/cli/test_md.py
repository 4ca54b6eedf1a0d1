"""The command `bench md` and its error messages."""

import dataclasses
import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

import ase
import ase.build
import ase.io
import backbones as bb
import numpy as np
import pytest
from bench.cli.main import app
from bench.dynamics.page.table import HEADINGS, rows, summary_line
from bench.dynamics.study.models import open_models
from bench.dynamics.study.structure_files import read_frames
from bench.dynamics.study.structures import (
    choose_structures,
    list_simulations,
    read_structures,
)
from bench.exceptions import BenchError
from bench.model.building import build_potential
from bench.settings.grid import Run
from bench.settings.schema import load_settings
from bench.settings.simulation import StructureSettings, StudySettings
from bench.settings.template import template_text
from typer.testing import CliRunner

ELEMENTS = {1: -13.0, 6: -40.0, 8: -70.0}


def potential_of(settings, long_range="none", seed=0):
    run = Run("own", "random", "mace", long_range, seed)
    return build_potential(settings, run, ELEMENTS, avg_num_neighbors=6.0, scale=0.3)


@pytest.fixture
def trained(small_grid, tmp_path, toy_structure):
    return lambda name, **options: finished_run(
        small_grid.model, tmp_path / name, toy_structure, **options
    )


def finished_run(settings, grid, toy_structure, *, layer="none", seed=0, charged=()):
    """Writes the folder of a grid with one finished run, as `bench run` does."""
    run = Run("own", "random", "mace", layer, seed)
    folder = grid / run.name
    folder.mkdir(parents=True)
    bb.save(folder / "model.npz", potential_of(settings, layer, seed))
    values = {
        "run": dataclasses.asdict(run),
        "settings": settings.model_dump(mode="json"),
        "data": grid.name,
    }
    (folder / "result.json").write_text(json.dumps(values))
    (grid / "config.yaml").write_text("dataset: own\n")
    frames = [toy_structure(i, True) for i in range(6)]
    for i, atoms in enumerate(frames):
        atoms.info |= {"part": "test" if i else "validation"}
        atoms.info |= {"total_charge": float(i in charged)}
    ase.io.write(folder / "predictions.extxyz", frames, format="extxyz")
    names = [atoms.info["id"] for atoms in frames[1:]]
    (folder / "split.json").write_text(json.dumps({"test": names}))
    return folder


def read(*files, **settings):
    return read_structures(StructureSettings(files=files, **settings))


def run_md(*arguments):
    return CliRunner().invoke(app, ["md", *map(str, arguments)])


def test_a_study_from_start_to_page(trained, tmp_path, toy_structure):
    run, out = trained("grid", layer="les"), tmp_path / "md"
    structure = tmp_path / "own.xyz"
    ase.io.write(structure, toy_structure(1, True), format="extxyz")
    call = [run.parent, "--mode", "dev", "--out", out, "--structure", structure]
    call += ["-o", f"reference={run / 'predictions.extxyz'}"]
    slow = "-o", "simulation.timestep=1.5"
    completed = run_md(*call, *slow)
    assert completed.exit_code == 0, completed.output
    assert "exceeds the 1 fs" in completed.output and "md.html" in completed.output
    (result_path,) = out.glob("*/*/result.json")
    folder = result_path.parent
    assert folder.relative_to(out).parts == ("mace+les", "own")
    result = json.loads(result_path.read_text())
    names = [stage["name"] for stage in result["stages"]]
    assert names == ["nvt", "nve", "ramp", "npt"]
    relaxed = ase.io.read(folder / "relaxed.extxyz")
    first = ase.io.read(folder / "nvt" / "trajectory.extxyz", 0)
    assert result["relaxation"]["steps"] <= 20 and len(relaxed) == len(first)
    for stage in result["stages"]:
        thermo = folder / stage["name"] / "thermo.csv"
        assert len(thermo.read_text().splitlines()) > 1
    assert result["charges"]["max_total_error"] >= 0
    radial = result["radial_distribution"]
    assert len(radial["g"]) == 120 and 0 < radial["error"] < 1
    summary = summary_line(result)
    assert summary in completed.output and summary.startswith("mace+les, own: ")
    (cells,) = rows([result])
    assert len(cells) == len(HEADINGS) and cells[0] == "mace+les"
    page = (out / "md.html").read_text()
    assert page.count("data:image/png") == 5 and "mace+les" in page
    # The second call reads the finished results.
    modified = result_path.stat().st_mtime_ns
    assert run_md(*call, *slow).exit_code == 0
    assert result_path.stat().st_mtime_ns == modified

    def assert_rejected(message, *arguments):
        error = run_md(*arguments).exception
        assert isinstance(error, BenchError) and message in str(error), error
        assert "\n" not in str(error)

    other_settings = "contains simulations with other settings"
    assert_rejected(f"{other_settings}, timestep (stored 1.5, now ", *call)
    assert_rejected(other_settings, *call, *slow, "-o", "simulation.relax=false")
    other_reference = "does not compare distances with this reference"
    other = f"reference={structure}"
    assert_rejected(other_reference, *call[:-1], other, *slow)
    settings_path = out / "settings.json"
    content = settings_path.read_text()
    settings_path.unlink()
    no_inputs = "but no settings.json with their inputs: choose"
    assert_rejected(no_inputs, *call, *slow)
    renamed = content.replace("ramp_to", "hottest")
    settings_path.write_text(renamed)
    assert_rejected("was made by an older version: choose", *call, *slow)
    settings_path.write_text(content)
    # Another model of the same name is rejected, also for an unfinished simulation.
    twin = trained("twin", layer="les", seed=1)
    for _ in range(2):
        for message in (
            "contains a simulation of another model or structure",
            "model (stored ",
            "data (stored grid, now tw",
        ):
            assert_rejected(message, twin, *call[1:], *slow)
        result_path.unlink(missing_ok=True)


def test_structures_are_chosen_from_the_shared_test_set(trained):
    grid = trained("grid", charged=(4,)).parent
    (model,) = open_models([grid])
    assert (model.name, model.data) == ("mace", "grid")
    # Charged first, then neutral; s004 and s005 are one group, s001 is in another.
    assert [initial.name for initial in choose_structures([model], 2)] == [
        "s004",
        "s001",
    ]
    assert [initial.name for initial in choose_structures([model], 3)] == [
        "s004",
        "s001",
        "s002",
    ]
    assert choose_structures([model], 2)[0].structure.total_charge == 1.0
    split = model.path / "split.json"
    split.write_text(json.dumps({"test": ["s002", "s003"]}))
    assert [initial.name for initial in choose_structures([model], 2)] == ["s002"]
    split.write_text(json.dumps({"test": []}))
    with pytest.raises(BenchError, match="No structure is in the test set"):
        choose_structures([model], 2)


def test_models_of_one_name_get_unique_names(trained, tmp_path):
    runs = [trained("one"), trained("one", seed=1), trained("two")]
    models = open_models(runs)
    assert [model.name for model in models] == ["mace"] * 3
    # Two data sets: one structure of each, for the models of that set.
    names = [
        (model.name, initial.name) for model, initial in list_simulations(models, [])
    ]
    assert names == [
        ("random-mace-seed0", "s001"),
        ("random-mace-seed1", "s001"),
        ("mace", "s001"),
    ]
    water = tmp_path / "water.xyz"
    ase.io.write(water, ase.build.molecule("H2O"))
    names = [model.name for model, _ in list_simulations(models, read(water))]
    assert names[::2] == ["one-random-mace-seed0", "two-random-mace-seed0"]
    with pytest.raises(BenchError, match="Two models are called"):
        list_simulations(open_models([runs[0], runs[0]]), [])


def test_structures_of_files(tmp_path):
    path = tmp_path / "ion.extxyz"
    ion = ase.build.molecule("CH3OH")
    ion.info["total_charge"] = 1
    ase.io.write(path, ion)
    first, second = read(path, path)
    assert first.structure.total_charge == 1.0 and first.structure.cell is None
    assert (first.name, second.name) == ("ion-0", "ion-1")
    assert read(path, total_charge=-1.0, spin=2)[0].structure.total_charge == -1.0


def test_frames_of_files_are_selected_or_rejected(tmp_path):
    one, three = tmp_path / "one.xyz", tmp_path / "three.xyz"
    waters = [ase.build.molecule("H2O") for _ in range(3)]
    for i, atoms in enumerate(waters):
        atoms.info["total_charge"] = i
    ase.io.write(one, waters[0], format="extxyz")
    ase.io.write(three, waters, format="extxyz")
    with pytest.raises(
        BenchError,
        match="three.xyz contains 3 .*structures.frames=0 to 2, or",
    ):
        read(one, three)
    with pytest.raises(BenchError, match="has no frame 3: it contains 3"):
        read(three, frames=3)
    names_and_charges = lambda *files, frames=None: [
        (initial.name, initial.structure.total_charge)
        for initial in read(*files, frames=frames)
    ]
    assert names_and_charges(three, frames=2) == [("three-2", 2.0)]
    both = [("one", 0.0), ("three-0", 0.0), ("three-1", 1.0), ("three-2", 2.0)]
    assert names_and_charges(one, three, frames="all") == both
    assert names_and_charges(one, frames=0) == names_and_charges(one) == [("one", 0.0)]


def test_crystals_of_files_are_complete_or_rejected(tmp_path):
    cifs = Path(__file__).parents[1] / "data" / "cif"
    (salt,) = read(cifs / "name_only.cif")
    np.testing.assert_array_equal(salt.structure.numbers, [11] * 4 + [17] * 4)
    np.testing.assert_array_equal(salt.structure.cell, np.eye(3) * 5.64)
    with pytest.raises(
        BenchError, match="disorder.cif cannot be simulated: .*alternat"
    ):
        read(cifs / "disorder.cif")
    with pytest.raises(BenchError, match="is a folder"):
        read(tmp_path)


def test_names_of_structures_are_valid_folder_names(tmp_path):
    names = (".hidden.xyz", "a b<c>.xyz", 250 * "x" + ".xyz", 80 * "ä" + "1.xyz")
    for name in names:
        ase.io.write(tmp_path / name, ase.build.molecule("H2O"), format="extxyz")
    hidden, special, long, non_ascii = (read(tmp_path / name)[0].name for name in names)
    assert (hidden, special) == ("structure", "a_b_c_")
    assert len(long) == 120 and long.startswith("xxx") and long[-9] == "-"
    assert non_ascii.startswith("äää") and len(non_ascii.encode()) <= 120


def test_structures_are_read_like_data(tmp_path, toy_structure):
    """From every format of `bench prepare`; invalid labels are ignored."""
    atoms = toy_structure(3, periodic=True)
    atoms.info["total_charge"] = 2
    paths = [tmp_path / f"a.{kind}" for kind in ("extxyz", "db", "traj")]
    for path in paths:
        ase.io.write(path, atoms)
    text = paths[0].read_bytes()
    paths += [tmp_path / "b.xyz.xz", tmp_path / "labels.xyz"]
    paths[3].write_bytes(lzma.compress(text))
    paths[4].write_bytes(re.sub(rb"energy=\S+", b"energy=nan", text))
    ase.io.write(tmp_path / "POSCAR", atoms, format="vasp")
    for path in [*paths, tmp_path / "POSCAR"]:
        (initial,) = read(path)
        order = np.argsort(atoms.numbers, kind="stable")
        read_order = np.argsort(initial.structure.numbers, kind="stable")
        np.testing.assert_array_equal(
            initial.structure.numbers[read_order], atoms.numbers[order]
        )
        # These two formats do not store the total charge.
        no_charge = path.name in ("POSCAR", "a.db")
        assert initial.structure.total_charge == (0.0 if no_charge else 2.0)
    (water,) = read_frames(paths[3])
    np.testing.assert_allclose(water.positions, atoms.positions, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("close.xyz", b"2\n\nH 0 0 0\nH 0 0 0.05\n", "0 and 1 are 0.05 Å apart"),
        (
            "long.xyz",
            b"1\n" + b"x" * (2 << 20) + b"\nH 0 0 0\n",
            "line of more than 1 MiB",
        ),
        ("cut.xyz", b"3\n\nH 0 0 0\n", "ends after 1 of 3 atoms"),
        (
            "vasprun.xml",
            b'<!DOCTYPE a [<!ENTITY b "c">]><modeling>&b;</modeling>',
            "declares the entity 'b'",
        ),
        ("old.traj", b"PickleTrajectory" + b"x" * 99, "cannot be read"),
        ("a.py", b"raise SystemExit\n", "cannot be read|not supported"),
        (
            "a.json",
            b'{"1": {}, "ids": [1], "nextid": 2}',
            "'json', which is not supported",
        ),
    ],
)
def test_invalid_structures_are_rejected(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    for function in (read_frames, lambda path: read(path, frames="all")):
        with pytest.raises(BenchError, match=message) as caught:
            function(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("charge", ["plus", "nan", "1 2", "T"])
def test_invalid_total_charges_are_rejected(charge, tmp_path):
    path = tmp_path / "ion.xyz"
    value = f'"{charge}"' if " " in charge else charge
    path.write_text(f"1\ntotal_charge={value}\nC 0 0 0\n")
    with pytest.raises(
        BenchError, match=r"ion.xyz: `total_charge` is not a finite number"
    ):
        read(path)
    assert read(path, total_charge=1.0)[0].structure.total_charge == 1.0


def test_errors_have_one_line_messages(trained, tmp_path):
    run = trained("grid")
    gold, slab, text, flat = (
        tmp_path / n for n in ("gold.xyz", "slab.extxyz", "text.xyz", "flat.extxyz")
    )
    ase.io.write(gold, ase.Atoms("Au"))
    ase.io.write(slab, ase.Atoms("C", cell=np.eye(3) * 9, pbc=[True, True, False]))
    ase.io.write(flat, ase.Atoms("C", cell=np.diag([9.0, 9.0, 0.1]), pbc=True))
    text.write_text("nothing\n")
    two = tmp_path / "two.xyz"
    ase.io.write(two, [ase.Atoms("C"), ase.Atoms("O")], format="extxyz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text("dataset: own\n")
    cases = {
        ("nowhere",): "nowhere does not exist",
        (tmp_path,): "not the folder of a finished run",
        (tmp_path / "empty",): "No run in",
        (gold,): "is no model",
        (run, "--structure", gold): "was not trained on Au, which gold contains",
        (run, "--structure", slab): "mix open and periodic",
        (run, "--structure", flat): "one height of the cell is 0.1 Å",
        (run, "--structure", text): "cannot be read",
        (run, "--structure", two): "contains 2 structures",
        (run, "--structure", two, "-o", "structures.frames=-1"): (
            "structures.frames: expected a number, counted from 0, or `all` (got -1)"
        ),
        (run, "-o", "structures.frames=all"): "`frames` selects structures of `files`",
        (run, "-o", "simulation.mode=long"): "should be 'dev', 'fast' or 'standard'",
        (run, "-o", "simulation.thermostat=ice"): "'langevin' or 'nose-hoover'",
        (run, "-o", "timestep=0.1"): "did you mean 'simulation.timestep'?",
        (run, "-o", "simulation.timesteps=1"): "did you mean 'timestep'?",
        (run, "-o", "simulation.timestep=0"): "timestep: Input should be greater than",
        (run, "-o", "simulation.timestep=.inf"): "timestep: Input should be ",
        (run, "-o", "simulation.ramp_to=10"): "ramp_to must be at least temperature",
        (run, "-o", "simulation.ramp_to=.nan"): "ramp_to: Input should be ",
        (run, "-o", "simulation.pressure=.nan"): "pressure: Input should be ",
        (run, "-o", "simulation.pressure=true"): "pressure: expected a value that is",
        (run, "-o", "simulation.replicas=1000000000"): "less than or equal to 10000",
        (run, "-o", "simulation.seed=-1"): "seed: Input should be greater than or",
        (run, "-o", "structures.total_charge=.nan"): "total_charge: Input should be",
        (run, "-o", "structures.spin=1000000000"): "less than or equal to 1000 ",
        (run, "-o", "require_charges=true"): "mace has no charges",
        (run, "--temperature", "inf"): "simulation.temperature: Input should be ",
        (run, "--temperature", "nan"): "simulation.temperature: Input should be ",
        (tmp_path / "missing.yaml",): "missing.yaml cannot be read: No such file",
        (tmp_path / "a.yaml", tmp_path / "b.yml"): "More than one settings file",
    }
    for arguments, message in cases.items():
        error = run_md(*arguments).exception
        assert isinstance(error, BenchError), (arguments, error)
        assert message in str(error) and "\n" not in str(error)


def test_a_settings_file_is_changed_by_options_and_by_the_command_line(
    trained, tmp_path, monkeypatch
):
    run = trained("grid")
    file = tmp_path / "short.yaml"
    file.write_text(
        f"models: [{run}]\nstructures: {{files: [nothere.xyz]}}\n"
        "simulation: {mode: standard, temperature: 400}\n"
    )
    arguments = file, "--structure", tmp_path / "other.xyz"
    assert "other.xyz does not exist" in str(run_md(*arguments).exception)
    assert "nothere.xyz does not exist" in str(run_md(file).exception)
    used = []
    simulate = lambda _, settings, out, jobs: used.append((settings, out))
    monkeypatch.setattr("bench.cli.md._simulate", simulate)
    monkeypatch.setattr("bench.cli.md._list_simulations", lambda settings: [])
    other = trained("other")
    options = "--mode", "dev", "-o", "simulation.temperature=500", "-o", "structures={}"
    assert run_md(file, other, *options).exit_code == 0
    ((settings, out),) = used
    assert settings.models == (other,) and settings.structures.files == ()
    assert (settings.simulation.mode, settings.simulation.temperature) == ("dev", 500)
    assert out == Path("runs/short")


def test_the_template_contains_the_defaults_and_is_accepted(tmp_path, monkeypatch):
    text = CliRunner().invoke(app, ["template", "md"]).output
    file = tmp_path / "md.yaml"
    file.write_text(text)
    settings = load_settings(StudySettings, file, {}, [], command="")
    assert settings == StudySettings(models=(Path("runs/quick"),))
    assert template_text(settings) == text
    monkeypatch.chdir(tmp_path)
    assert str(run_md(file).exception) == "runs/quick does not exist."


def test_a_wrong_option_lists_the_choices():
    command = ["md", "runs/quick", "--mode", "long"]
    error = CliRunner().invoke(app, command, standalone_mode=False).exception
    assert "'long' is not one of 'dev', 'fast', 'standard'" in error.format_message()


def test_files_of_models(small_grid, tmp_path):
    path, water = tmp_path / "short.npz", tmp_path / "water.xyz"
    bb.save(path, potential_of(small_grid.model))
    ase.io.write(water, ase.build.molecule("H2O"))
    ((model, _),) = list_simulations(open_models([path]), read(water))
    assert model.name == "short"
    assert "file without data" in str(run_md(path).exception)
    layered = tmp_path / "layered.npz"
    bb.save(layered, potential_of(small_grid.model, "les"))
    ((model, _),) = list_simulations(open_models([layered]), read(water))
    assert list(model.potential.backbone.hooks.layers) == ["final"]


def test_the_command_is_listed_without_loading_jax():
    program = (
        "import sys\nfrom typer.testing import CliRunner\n"
        "from bench.cli.main import app\n"
        "out = CliRunner().invoke(app, ['md', '--help'])\n"
        "assert out.exit_code == 0 and '--jobs' in out.output, out.output\n"
        "assert not {'jax', 'jax_md', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
