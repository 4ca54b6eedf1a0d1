"""Readers, splitters and descriptors of another package (`tests/plugin`)."""

import subprocess
import sys

import bench
import numpy as np
import pytest
from bench.cli.main import app
from bench.exceptions import BenchError
from bench.settings.installed import READERS, SPLITTERS, installed_names, load_installed
from chemsplit import Split
from example_plugin.split import Nearest, formula
from typer.testing import CliRunner


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for i in range(4):
        text = f"# E {-1.0 - i}\n8 0 0 0\n1 0 0 0.9{i}\n1 0.9{i} 0 0\n"
        (folder / f"water-0{i}.atoms").write_text(text)
    return folder


@pytest.mark.parametrize("read", [{}, {"format": "plain-table"}])
def test_a_reader_is_found_by_suffix_and_by_name(read, tables, tmp_path):
    (tables / "README").write_text("not a structure")
    source = str(tables / "*.atoms") if read else str(tables)
    settings = bench.PreparationSettings(
        source=source, keys={"energy": "E"}, read={"energy_unit": "hartree", **read}
    )
    header = bench.prepare(settings, tmp_path / "out")
    assert (header["structures"], header["read_as"]) == (4, "plain-table")
    dataset = bench.open_dataset(str(tmp_path / "out"))
    assert dataset.samples[3].energy == pytest.approx(-4.0 * 27.211386, rel=1e-7)


@pytest.fixture
def water(tables, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4, 12):
        x, y = rng.uniform(0.9, 1.1, 2)
        text = f"# E {-1.0 - i}\n8 0 0 0\n1 0 0 {x}\n" + (i % 2) * f"1 {y} 0 0\n"
        (tables / f"water-{i:02d}.atoms").write_text(text)
    settings = bench.PreparationSettings(source=str(tables), keys={"energy": "E"})
    bench.prepare(settings, tmp_path / "water", workers=0)
    return tmp_path / "water"


def test_a_grid_names_a_splitter_and_a_descriptor(water, tmp_path):
    settings = ["splits=[last-ids, nearest]", "split.descriptor=formula"]
    settings += [f"dataset={water}", "split.test_fraction=0.25"]
    splits = [word for setting in settings for word in ("-o", setting)]
    command = ["split", "quick", "--out", str(tmp_path / "splits"), *splits]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    last = Split.load(tmp_path / "splits" / "last-ids-seed0.json")
    nearest = Split.load(tmp_path / "splits" / "nearest-seed0.json")
    assert set(last.test) == {"water-09", "water-10", "water-11"}
    assert last.settings["splitter"] == "LastIds(0.25)"
    assert "descriptor" not in last.settings
    assert nearest.settings["descriptor"] == "formula" and len(nearest.test) == 3
    (stored,) = (tmp_path / "splits").glob("descriptors-*")
    assert stored.name.startswith("descriptors-formula-")


def test_objects_of_other_packages_are_taken(water):
    dataset = bench.open_dataset(str(water))
    split = bench.make_split(dataset, Nearest(0.5), descriptor=formula)
    assert (split.name, len(split.test)) == ("Nearest", 6)
    assert bench.make_split(dataset, "last-ids").name == "last-ids"


def test_an_unknown_format_lists_what_is_installed(tables, tmp_path):
    settings = bench.PreparationSettings(source=str(tables), read={"format": "tables"})
    with pytest.raises(BenchError, match="no format 'tables': .*npz, .*plain-table"):
        bench.prepare(settings, tmp_path / "out")
    with pytest.raises(BenchError, match="no reader 'plain'.* mean 'plain-table'"):
        load_installed(READERS, "plain")


def test_other_packages_are_imported_only_when_used(tmp_path):
    (tmp_path / "a.extxyz").write_text("1\nenergy=1\nH 0 0 0\n")
    program = (
        "import sys, bench; from bench.settings.installed import installed_names; "
        "bench.prepare(bench.PreparationSettings(source='a.extxyz'), 'out'); "
        "assert 'plain-table' in installed_names('bench.readers'); "
        "assert not {'example_plugin', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_broken_and_conflicting_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "faulty_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-plugin\n")
    (folder / "entry_points.txt").write_text(
        "[bench.readers]\nnpz = faulty_plugin:Npz\nfaulty = faulty_plugin:Faulty\n"
        "[bench.splitters]\ndate = datetime:date\n"
    )
    (tmp_path / "faulty_plugin.py").write_text("raise RuntimeError('too\\nold')\n")
    assert {"npz", "faulty"} <= set(installed_names(READERS))
    with pytest.raises(BenchError) as caught:
        load_installed(READERS, "faulty")
    assert str(caught.value) == (
        "The reader 'faulty' of the package faulty-plugin cannot be imported "
        "(RuntimeError: too old): report it to the author of faulty-plugin, or "
        "uninstall it."
    )
    with pytest.raises(BenchError, match="bench and faulty-plugin both have a reader"):
        load_installed(READERS, "npz")
    needed = "'date' of .*faulty-plugin is not .* author must add `needs` and `from_set"
    with pytest.raises(BenchError, match=needed):
        load_installed(SPLITTERS, "date")
