"""`bench md` as a whole, and what it says to mistakes."""

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
from bench.dynamics.page.table import HEADINGS, line, rows
from bench.dynamics.study.cases import choose_cases, paired, read_cases
from bench.dynamics.study.models import open_models
from bench.dynamics.study.structure_files import read_frames
from bench.exceptions import BenchError
from bench.model.building import build_potential
from bench.settings.grid import Run
from typer.testing import CliRunner

ELEMENTS = {1: -13.0, 6: -40.0, 8: -70.0}


def potential_of(settings, long_range="none", seed=0):
    run = Run("own", "random", "mace", long_range, seed)
    return build_potential(settings, run, ELEMENTS, avg_num_neighbors=6.0, scale=0.3)


@pytest.fixture
def trained(small_grid, tmp_path, springs):
    return lambda name, **more: finished_run(
        small_grid.model, tmp_path / name, springs, **more
    )


def finished_run(settings, grid, springs, *, layer="none", seed=0, charged=()):
    """The folder of a grid as `bench run` leaves it, with one finished run."""
    run = Run("own", "random", "mace", layer, seed)
    place = grid / run.name
    place.mkdir(parents=True)
    bb.save(place / "model.npz", potential_of(settings, layer, seed))
    values = {
        "run": dataclasses.asdict(run),
        "settings": settings.model_dump(mode="json"),
        "data": grid.name,
    }
    (place / "result.json").write_text(json.dumps(values))
    (grid / "config.yaml").write_text("dataset: own\n")
    frames = [springs(i, True) for i in range(6)]
    for i, atoms in enumerate(frames):
        atoms.info |= {"part": "test" if i else "validation"}
        atoms.info |= {"total_charge": float(i in charged)}
    ase.io.write(place / "predictions.extxyz", frames, format="extxyz")
    names = [atoms.info["id"] for atoms in frames[1:]]
    (place / "split.json").write_text(json.dumps({"test": names}))
    return place


def called(*arguments):
    return CliRunner().invoke(app, ["md", *map(str, arguments)])


def test_a_study_from_start_to_page(trained, tmp_path, springs):
    place, out, own = (
        trained("grid", layer="les"),
        tmp_path / "md",
        tmp_path / "own.xyz",
    )
    ase.io.write(own, springs(1, True), format="extxyz")
    call = [place.parent, "--mode", "dev", "--out", out, "--structure", own]
    call += ["--reference", place / "predictions.extxyz"]
    done = called(*call, "--timestep", 1.5)
    assert done.exit_code == 0, done.output
    assert "above the 1 fs" in done.output and "md.html" in done.output
    (found,) = out.glob("*/*/result.json")
    assert found.parent.relative_to(out).parts == ("mace+les", "own")
    result = json.loads(found.read_text())
    names = [phase["name"] for phase in result["phases"]]
    assert names == ["nvt", "nve", "ramp", "npt"]
    rest = ase.io.read(found.parent / "relaxed.extxyz")
    first = ase.io.read(found.parent / "nvt" / "trajectory.extxyz", 0)
    assert result["relaxation"]["steps"] <= 20 and len(rest) == len(first)
    for phase in result["phases"]:
        thermo = found.parent / phase["name"] / "thermo.csv"
        assert len(thermo.read_text().splitlines()) > 1
    assert result["charges"]["largest_total_error"] >= 0
    assert len(result["radial"]["g"]) == 120 and 0 < result["radial"]["error"] < 1
    assert line(result) in done.output and line(result).startswith("mace+les, own: ")
    (cells,) = rows([result])
    assert len(cells) == len(HEADINGS) and cells[0] == "mace+les"
    page = (out / "md.html").read_text()
    assert page.count("data:image/png") == 5 and "mace+les" in page
    # Finished work is kept: the second call reads it.
    stamp = found.stat().st_mtime_ns
    assert called(*call, "--timestep", 1.5).exit_code == 0
    assert found.stat().st_mtime_ns == stamp
    other = called(*call, "--timestep", 0.5).exception
    assert isinstance(other, BenchError)
    assert "holds simulations with other settings, timestep (there 1.5, here " in str(
        other
    )
    unmoved = called(*call, "--timestep", 1.5, "--no-relax").exception
    assert "holds simulations with other settings" in str(unmoved)
    compared = called(*call[:-1], own, "--timestep", 1.5).exception
    assert "does not compare distances with this --reference" in str(compared)
    said = (out / "settings.json").rename(tmp_path / "settings.json")
    unknown = called(*call, "--timestep", 1.5).exception
    assert "and no settings.json, which says of what: choose" in str(unknown)
    said.rename(out / "settings.json")
    # Another model of the same name is not taken for this one, finished or not.
    twin = trained("twin", layer="les", seed=1)
    for _ in range(2):
        other = called(twin, *call[1:], "--timestep", 1.5).exception
        assert "holds a simulation of another model or structure" in str(other)
        assert "model (there " in str(other) and "data (there grid, here tw" in str(
            other
        )
        found.unlink(missing_ok=True)


def test_structures_are_chosen_of_what_all_were_tested_on(trained):
    grid = trained("grid", charged=(4,)).parent
    (model,) = open_models([grid])
    assert (model.name, model.data) == ("mace", "grid")
    # Charged first, then neutral; s004 and s005 are one group, s001 stands alone.
    assert [case.name for case in choose_cases([model], 2)] == ["s004", "s001"]
    assert [case.name for case in choose_cases([model], 3)] == ["s004", "s001", "s002"]
    assert choose_cases([model], 2)[0].structure.total_charge == 1.0
    split = model.path / "split.json"
    split.write_text(json.dumps({"test": ["s002", "s003"]}))
    assert [case.name for case in choose_cases([model], 2)] == ["s002"]
    split.write_text(json.dumps({"test": []}))
    with pytest.raises(BenchError, match="No structure is in the test part"):
        choose_cases([model], 2)


def test_models_of_one_name_are_told_apart(trained, tmp_path):
    places = [trained("one"), trained("one", seed=1), trained("two")]
    models = open_models(places)
    assert [model.name for model in models] == ["mace"] * 3
    # Two data sets: one structure of each, in models of that set.
    names = [(model.name, case.name) for model, case in paired(models, [])]
    assert names == [
        ("random-mace-seed0", "s001"),
        ("random-mace-seed1", "s001"),
        ("mace", "s001"),
    ]
    water = tmp_path / "water.xyz"
    ase.io.write(water, ase.build.molecule("H2O"))
    names = [model.name for model, _ in paired(models, read_cases([water], None, 0))]
    assert names[::2] == ["one-random-mace-seed0", "two-random-mace-seed0"]
    with pytest.raises(BenchError, match="Two models are called"):
        paired(open_models([places[0], places[0]]), [])


def test_structures_of_files(tmp_path):
    path = tmp_path / "ion.extxyz"
    ion = ase.build.molecule("CH3OH")
    ion.info["total_charge"] = 1
    ase.io.write(path, ion)
    (case, twin) = read_cases([path, path], None, 0)
    assert case.structure.total_charge == 1.0 and case.structure.cell is None
    assert (case.name, twin.name) == ("ion-0", "ion-1")
    assert read_cases([path], -1.0, 2)[0].structure.total_charge == -1.0


def test_frames_of_files_are_chosen_or_refused(tmp_path):
    one, three = tmp_path / "one.xyz", tmp_path / "three.xyz"
    waters = [ase.build.molecule("H2O") for _ in range(3)]
    for i, atoms in enumerate(waters):
        atoms.info["total_charge"] = i
    ase.io.write(one, waters[0], format="extxyz")
    ase.io.write(three, waters, format="extxyz")
    with pytest.raises(BenchError, match=r"three.xyz holds 3 structures: .*--frames N"):
        read_cases([one, three], None, 0)
    with pytest.raises(BenchError, match="has no frame 3: it holds 3"):
        read_cases([three], None, 0, "3")
    named = lambda *given: [
        (case.name, case.structure.total_charge) for case in read_cases(*given)
    ]
    assert named([three], None, 0, "2") == [("three-2", 2.0)]
    both = [("one", 0.0), ("three-0", 0.0), ("three-1", 1.0), ("three-2", 2.0)]
    assert named([one, three], None, 0, "all") == both
    assert named([one], None, 0, "0") == named([one], None, 0) == [("one", 0.0)]


def test_crystals_of_files_are_whole_or_refused(tmp_path):
    cifs = Path(__file__).parents[1] / "data" / "cif"
    (salt,) = read_cases([cifs / "name_only.cif"], None, 0)
    np.testing.assert_array_equal(salt.structure.numbers, [11] * 4 + [17] * 4)
    np.testing.assert_array_equal(salt.structure.cell, np.eye(3) * 5.64)
    with pytest.raises(
        BenchError, match="disorder.cif cannot be simulated: .*alternat"
    ):
        read_cases([cifs / "disorder.cif"], None, 0)
    with pytest.raises(BenchError, match="is a folder"):
        read_cases([tmp_path], None, 0)


def test_names_of_structures_are_names_of_folders(tmp_path):
    names = (".hidden.xyz", "a b<c>.xyz", 250 * "x" + ".xyz", 80 * "ä" + "1.xyz")
    for name in names:
        ase.io.write(tmp_path / name, ase.build.molecule("H2O"), format="extxyz")
    hidden, odd, long, wide = (
        read_cases([tmp_path / name], None, 0)[0].name for name in names
    )
    assert (hidden, odd) == ("structure", "a_b_c_")
    assert len(long) == 120 and long.startswith("xxx") and long[-9] == "-"
    assert wide.startswith("äää") and len(wide.encode()) <= 120


def test_structures_are_read_as_data_are(tmp_path, springs):
    """Of every format that data have, with the same checks; bad labels do no harm."""
    atoms = springs(3, periodic=True)
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
        (case,) = read_cases([path], None, 0)
        order = np.argsort(atoms.numbers, kind="stable")
        mine = np.argsort(case.structure.numbers, kind="stable")
        np.testing.assert_array_equal(
            case.structure.numbers[mine], atoms.numbers[order]
        )
        # Neither of these two has a place for it.
        without = path.name in ("POSCAR", "a.db")
        assert case.structure.total_charge == (0.0 if without else 2.0)
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
        ("a.py", b"raise SystemExit\n", "cannot be read|not read here"),
        ("a.json", b'{"1": {}, "ids": [1], "nextid": 2}', "'json', which is not read"),
    ],
)
def test_structures_that_data_may_not_have_are_refused(
    name, content, message, tmp_path
):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_frames, lambda path: read_cases([path], None, 0, "all")):
        with pytest.raises(BenchError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("charge", ["plus", "nan", "1 2", "T"])
def test_charges_of_files_are_numbers(charge, tmp_path):
    path = tmp_path / "ion.xyz"
    told = f'"{charge}"' if " " in charge else charge
    path.write_text(f"1\ntotal_charge={told}\nC 0 0 0\n")
    with pytest.raises(BenchError, match=r"ion.xyz: `total_charge` is no number"):
        read_cases([path], None, 0)
    assert read_cases([path], 1.0, 0)[0].structure.total_charge == 1.0


def test_mistakes_are_told_in_one_sentence(trained, tmp_path):
    place = trained("grid")
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
        ("nowhere",): "There is no nowhere",
        (tmp_path,): "holds no finished run",
        (tmp_path / "empty",): "No run in",
        (gold,): "is no model",
        (place, "--structure", gold): "was never trained on Au, which gold holds",
        (place, "--structure", slab): "mix open and periodic",
        (place, "--structure", flat): "one height of the cell is 0.1 Å",
        (place, "--structure", text): "cannot be read",
        (place, "--structure", two): "holds 2 structures",
        (place, "--structure", two, "--frames", "-1"): "--frames is a number",
        (place, "--frames", "all"): "--frames chooses among",
        (place, "--mode", "long"): "--mode is one of dev, fast, standard",
        (place, "--thermostat", "ice"): "--thermostat is one of",
        (place, "--timestep", 0): "--timestep is positive",
        (place, "--hottest", 10): "--hottest is at least",
        (place, "--charges"): "mace has no charges",
        (place, "--temperature", "inf"): "--temperature lies between 0 and 100000 K",
        (place, "--temperature", "nan"): "--temperature is positive, got nan",
        (place, "--hottest", "nan"): "--hottest is positive, got nan",
        (place, "--hottest", "inf"): "--hottest lies between",
        (place, "--timestep", "inf"): "--timestep lies between 0 and 100 fs, got inf",
        (place, "--pressure", "nan"): "--pressure lies between",
        (place, "--pressure", "-inf"): "--pressure lies between",
        (place, "--total-charge", "nan"): "--total-charge lies between",
        (place, "--spin", 10**9): "--spin lies between 0 and 1000",
        (place, "--replicas", 10**9): "--replicas lies between 1 and 10000",
        (place, "--seed", -1): "--seed lies between",
    }
    for arguments, message in cases.items():
        error = called(*arguments).exception
        assert isinstance(error, BenchError), (arguments, error)
        assert message in str(error) and "\n" not in str(error)


def test_files_of_models(small_grid, tmp_path):
    path, water = tmp_path / "short.npz", tmp_path / "water.xyz"
    bb.save(path, potential_of(small_grid.model))
    ase.io.write(water, ase.build.molecule("H2O"))
    ((model, _),) = paired(open_models([path]), read_cases([water], None, 0))
    assert model.name == "short"
    assert "file without data" in str(called(path).exception)
    layered = tmp_path / "layered.npz"
    bb.save(layered, potential_of(small_grid.model, "les"))
    error = called(layered, "--structure", water).exception
    assert "opened by the folder of its run" in str(error)


def test_the_command_is_listed_without_loading_jax():
    program = (
        "import sys\nfrom typer.testing import CliRunner\n"
        "from bench.cli.main import app\n"
        "out = CliRunner().invoke(app, ['md', '--help'])\n"
        "assert out.exit_code == 0 and '--replicas' in out.output, out.output\n"
        "assert not {'jax', 'jax_md', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
